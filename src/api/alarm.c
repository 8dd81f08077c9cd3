/* alarm.c: see alarm.h. */
#include "api/alarm.h"

#include "base/rstr.h"
#include "gen/rec.h"
#include "loop/loop.h"
#include "state/txn.h"

struct alarm {
    const char *name;
    int priority;
    char *text;
};

static struct err *write_txn(struct txn *t, void *arg)
{
    const struct alarm *a = arg;
    const struct rec_host *host = rec_host(snap_first(txn_snap(t), CLASS_host));
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

void alarm_raise(struct db *db, const char *name, int priority, const char *text)
{
    struct alarm *a = mem_new(struct alarm);
    *a = (struct alarm){name, priority, mem_strdup(text)};
    db_write_async(db, "alarm", write_txn, a, written);
}
