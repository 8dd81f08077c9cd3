/* alert.c: messages for administrators, written with the change they tell of. On core. */
#include "op/world.h"

void alert_add(struct txn *t, const char *name, int64_t priority, enum cls cls,
               const char *obj_uuid, const char *body)
{
    struct rec_message *m = (struct rec_message *)txn_add(t, CLASS_message, NULL, NULL);
    rstr_set(&m->name, name);
    m->priority = priority;
    m->cls = cls;
    rstr_set(&m->obj_uuid, obj_uuid);
    m->timestamp = now_s();
    rstr_set(&m->body, body);
}
