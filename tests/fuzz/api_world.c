/* api_world.c: see api_world.h. */
#include "tests/fuzz/api_world.h"

#include <stdlib.h>

#include "base/log.h"
#include "gen/rec.h"
#include "state/txn.h"
#include "task/task.h"

#define CALLS_PER_WORLD 2000

/* Instead of gen/msg.c, which wants the handlers of all layers. */
msg_fn msg_handlers[8192];

static struct err *do_nothing(struct op *op, const void *args, struct val **ret)
{
    return NULL;
}

static struct err *make_vm(struct txn *t, void *arg)
{
    struct api_world *w = arg;
    struct row *r = txn_add(t, CLASS_VM, NULL, NULL);
    w->vm = rstr_ref(r->ref);
    w->uuid = rstr_ref(rec_VM(r)->uuid);
    return NULL;
}

static void must(struct err *e)
{
    if (e)
        abort();
}

static void log_in(struct api_world *w)
{
    rstr_unref(w->session);
    must(api_login(w->api, &(struct api_peer){.trusted = true}, NULL, NULL, "", &w->session));
}

static void begin(struct api_world *w)
{
    must(db_open(&(struct db_config){.single = true}, &w->db));
    must(tasks_new(&(struct tasks_config){.db = w->db, .single = true, .render = api_render},
                   &w->tasks));
    must(api_new(&(struct api_config){.db = w->db, .tasks = w->tasks}, &w->api));
    must(db_write(w->db, "vm", make_vm, w));
    w->loop = loop_new("fuzz");
    w->calls = 0;
    log_in(w);
}

static void end(struct api_world *w)
{
    loop_free(w->loop);
    (void)tasks_stop(w->tasks, clock_now());
    api_free(w->api);
    db_close(w->db);
    rstr_unref(w->vm);
    rstr_unref(w->uuid);
}

struct api_world *api_world(void)
{
    static struct api_world world;
    if (world.db)
        return &world;
    log_set_level(NULL, LOG_ERR);
    for (unsigned i = 0; i < desc_n_msgs; i++)
        if (desc_msgs[i]->flags & MSG_HANDLER)
            msg_handlers[desc_msgs[i]->num] = do_nothing;
    begin(&world);
    return &world;
}

void api_world_fill_in(const struct api_world *w, const uint8_t *data, size_t size, const char *v,
                       struct buf *out)
{
    for (size_t i = 0; i < size; i++) {
        char next = i + 1 < size && data[i] == '@' ? (char)data[i + 1] : 0;
        const char *text = next == 'S' ? w->session : next == 'V' ? v : next == 'R' ? w->vm : NULL;
        if (text)
            buf_puts(out, text);
        else
            buf_put(out, &data[i], 1);
        i += text != NULL;
    }
}

void api_world_step(struct api_world *w)
{
    while (loop_step(w->loop))
        ;
}

void api_world_next(struct api_world *w)
{
    struct api_session session = {0};
    struct err *gone = api_authenticate(w->api, w->session, &session);
    api_session_done(&session);
    if (gone)
        log_in(w);
    err_free(gone);
    if (++w->calls == CALLS_PER_WORLD) {
        end(w);
        begin(w);
    }
}
