/* alarm.c: see alarm.h. */
#include "api/alarm.h"

#include "api/call.h"
#include "base/rstr.h"
#include "gen/typed.h"
#include "loop/loop.h"
#include "state/txn.h"
#include "task/task.h"

struct alarm {
    const struct tasks *tasks;
    const char *name;
    int priority;
    char *text;
};

static struct err *write_txn(struct txn *t, void *arg)
{
    const struct alarm *a = arg;
    const struct rec_host *host = txn_host(t, tasks_host_ref(a->tasks));
    if (!host)
        return NULL;
    struct rec_message *m = (struct rec_message *)txn_add(t, CLASS_message, NULL, NULL);
    rstr_set(&m->name, a->name);
    m->priority = a->priority;
    m->cls = CLS_HOST;
    rstr_assign(&m->obj_uuid, host->uuid);
    m->timestamp = (int64_t)(clock_wall() / USEC_PER_SEC);
    rstr_set(&m->body, a->text);
    return NULL;
}

static void written(void *arg, struct err *e, uint64_t generation)
{
    struct alarm *a = arg;
    err_free(e);
    free(a->text);
    free(a);
}

void alarm_raise(const struct api *api, const char *name, int priority, const char *text)
{
    struct alarm *a = mem_new(struct alarm);
    *a = (struct alarm){api->tasks, name, priority, mem_strdup(text)};
    db_write_async(api->db, "alarm", write_txn, a, written);
}
