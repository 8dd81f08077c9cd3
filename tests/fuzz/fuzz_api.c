/*
 * A call from its body to its answer: decoding by descriptors, roles, implicit messages, events.
 * The input is a JSON-RPC or XML-RPC body in which @S stands for a live session and @V for a VM.
 * Handlers do nothing here; what they do with their arguments has its own tests.
 */
#include <string.h>

#include "api/api.h"
#include "base/log.h"
#include "gen/rec.h"
#include "loop/loop.h"
#include "state/txn.h"
#include "task/task.h"
#include "tests/fuzz/fuzz.h"

#define CALLS_PER_WORLD 2000
#define BODY_MAX        (64 << 10)

/* Instead of gen/msg.c, which wants the handlers of all layers. */
msg_fn msg_handlers[8192];

static struct {
    struct db *db;
    struct tasks *tasks;
    struct api *api;
    struct loop *loop;
    const char *session, *vm;
    unsigned calls;
} world;

static struct err *do_nothing(struct op *op, const void *args, struct val **ret)
{
    return NULL;
}

static struct err *make_vm(struct txn *t, void *arg)
{
    world.vm = rstr_ref(txn_add(t, CLASS_VM, NULL, NULL)->ref);
    return NULL;
}

static void must(struct err *e)
{
    if (e)
        abort();
}

static void log_in(void)
{
    rstr_unref(world.session);
    must(api_login(world.api, &(struct api_peer){.trusted = true}, NULL, NULL, "", &world.session));
}

static void begin(void)
{
    must(db_open(&(struct db_config){.single = true}, &world.db));
    must(tasks_new(&(struct tasks_config){.db = world.db, .single = true, .render = api_render},
                   &world.tasks));
    must(api_new(&(struct api_config){.db = world.db, .tasks = world.tasks}, &world.api));
    must(db_write(world.db, "vm", make_vm, NULL));
    world.loop = loop_new("fuzz");
    world.calls = 0;
    log_in();
}

static void end(void)
{
    loop_free(world.loop);
    tasks_stop(world.tasks, clock_now());
    api_free(world.api);
    db_close(world.db);
    rstr_unref(world.vm);
}

static void on_answer(void *arg, unsigned status, const char *content_type, struct buf *body)
{
    *(bool *)arg = true;
}

static void send_body(enum rpc_format format, struct view body)
{
    bool answered = false;
    struct api_request rq = {
        .loop = world.loop, .format = format, .peer = {.address = "192.0.2.1"}, .body = body};
    struct api_rpc *call = api_rpc(world.api, &rq, on_answer, &answered);
    while (loop_step(world.loop))
        ;
    if (!answered)
        api_rpc_drop(call);
    while (loop_step(world.loop))
        ;
}

static void set_up(void)
{
    static bool done;
    if (done)
        return;
    done = true;
    log_set_level(NULL, LOG_ERR);
    for (unsigned i = 0; i < desc_n_msgs; i++)
        if (desc_msgs[i]->flags & MSG_HANDLER)
            msg_handlers[desc_msgs[i]->num] = do_nothing;
    begin();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    set_up();
    _cleanup_(buf_done) struct buf body;
    buf_init(&body, BODY_MAX);
    for (size_t i = 0; i < size; i++) {
        bool mark = data[i] == '@' && i + 1 < size;
        if (mark && (data[i + 1] == 'S' || data[i + 1] == 'V'))
            buf_puts(&body, data[++i] == 'S' ? world.session : world.vm);
        else
            buf_put(&body, &data[i], 1);
    }
    send_body(size && data[0] == '<' ? RPC_XML : RPC_JSON,
              (struct view){buf_str(&body), body.size});
    struct api_session session = {0};
    struct err *gone = api_authenticate(world.api, world.session, &session);
    api_session_done(&session);
    if (gone)
        log_in();
    err_free(gone);
    if (++world.calls == CALLS_PER_WORLD) {
        end();
        begin();
    }
    return 0;
}
