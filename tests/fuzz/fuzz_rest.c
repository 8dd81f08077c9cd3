/*
 * A request of /rest/v1 from its bytes to its answer: path, query, conditions, filter, body, the
 * model's types. The input is an HTTP request, with the path behind /rest/v1, in which @S stands
 * for a live session, @V for a VM's uuid and @R for its reference. Handlers do nothing here.
 */
#include <string.h>

#include "api/api.h"
#include "base/log.h"
#include "gen/rec.h"
#include "loop/loop.h"
#include "rest/rest.h"
#include "state/txn.h"
#include "task/task.h"
#include "tests/fuzz/fuzz.h"

#define CALLS_PER_WORLD 2000
#define INPUT_MAX       (64 << 10)

/* Instead of gen/msg.c, which wants the handlers of all layers. */
msg_fn msg_handlers[8192];

static struct {
    struct db *db;
    struct tasks *tasks;
    struct rest rest;
    struct loop *loop;
    const char *session, *vm, *uuid;
    unsigned calls;
    bool answered;
    size_t said; /* bytes of an answer without an end */
} world;

static struct err *do_nothing(struct op *op, const void *args, struct val **ret)
{
    return NULL;
}

static struct err *make_vm(struct txn *t, void *arg)
{
    struct row *r = txn_add(t, CLASS_VM, NULL, NULL);
    world.vm = rstr_ref(r->ref);
    world.uuid = rstr_ref(rec_VM(r)->uuid);
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
    must(api_login(world.rest.api, &(struct api_peer){.trusted = true}, NULL, NULL, "",
                   &world.session));
}

static void begin(void)
{
    must(db_open(&(struct db_config){.single = true}, &world.db));
    must(tasks_new(&(struct tasks_config){.db = world.db, .single = true, .render = api_render},
                   &world.tasks));
    must(api_new(&(struct api_config){.db = world.db, .tasks = world.tasks}, &world.rest.api));
    must(db_write(world.db, "vm", make_vm, NULL));
    world.rest.db = world.db;
    world.loop = loop_new("fuzz");
    world.calls = 0;
    log_in();
}

static void end(void)
{
    loop_free(world.loop);
    tasks_stop(world.tasks, clock_now());
    api_free(world.rest.api);
    db_close(world.db);
    rstr_unref(world.vm);
    rstr_unref(world.uuid);
}

/* ---- the answer: it has to hold together ---- */

static void on_send(void *arg, unsigned status, const char *content_type,
                    const struct rest_header *headers, unsigned n_headers, struct buf *body)
{
    if (world.answered || status < 200 || status > 599)
        abort();
    for (unsigned i = 0; i < n_headers; i++)
        if (strpbrk(headers[i].value, "\r\n"))
            abort();
    world.answered = true;
}

static void on_begin(void *arg, const char *content_type)
{
    world.said = 0;
}

static void on_more(void *arg, const void *p, size_t size)
{
    world.said += size;
}

static bool is_drained(void *arg)
{
    return true;
}

static void on_end(void *arg)
{
    world.answered = true;
}

static const struct rest_sink sink = {on_send, on_begin, on_more, is_drained, on_end};

static void send_request(const struct http_head *head, struct view body)
{
    _cleanup_(freep) char *method = view_dup(head->method), *path = http_decode(head->path, false);
    if (!path)
        return;
    struct rest_request rq = {.loop = world.loop,
                              .peer = {.address = "192.0.2.1"},
                              .method = method,
                              .path = path,
                              .query = head->query,
                              .body = body,
                              .head = head};
    world.answered = false;
    struct rest_call *call = rest_serve(&world.rest, &rq, &sink, NULL);
    while (loop_step(world.loop))
        ;
    if (call && !world.answered)
        rest_drop(call);
    while (loop_step(world.loop))
        ;
}

static void fill_in(const uint8_t *data, size_t size, struct buf *out)
{
    for (size_t i = 0; i < size; i++) {
        char next = i + 1 < size && data[i] == '@' ? (char)data[i + 1] : 0;
        const char *text = next == 'S'   ? world.session
                           : next == 'V' ? world.uuid
                           : next == 'R' ? world.vm
                                         : NULL;
        if (text)
            buf_puts(out, text);
        else
            buf_put(out, &data[i], 1);
        i += text != NULL;
    }
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
    _cleanup_(buf_done) struct buf in;
    struct http_head head;
    size_t scanned = 0;
    buf_init(&in, INPUT_MAX);
    fill_in(data, size, &in);
    struct view all = {buf_str(&in), in.size};
    ssize_t n = http_head_end(all, &scanned);
    if (n <= 0 || http_parse_request((struct view){all.p, (size_t)n}, &head))
        return 0;
    send_request(&head, view_cut(all, (size_t)n));
    struct api_session session = {0};
    struct err *gone = api_authenticate(world.rest.api, world.session, &session);
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
