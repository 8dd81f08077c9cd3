/* setting.c: small facts of the installation that belong to no object; rows of class setting. */
#include "op/world.h"

static const struct row *find(const struct snap *s, const char *key)
{
    snap_each (row, s, CLASS_setting) {
        if (str_eq(rec_setting(row)->key, key))
            return row;
    }
    return NULL;
}

const char *setting_get(const struct snap *s, const char *key)
{
    const struct row *row = find(s, key);
    return row ? rec_setting(row)->value : "";
}

void setting_put(struct txn *t, const char *key, const char *value)
{
    const struct row *old = find(txn_snap(t), key);
    if (old && !*value) {
        txn_delete(t, CLASS_setting, old->ref);
    } else if (*value) {
        struct rec_setting *s = old ? txn_edit_setting(t, old->ref) : txn_add_setting(t);
        rstr_set(&s->key, key);
        rstr_set(&s->value, value);
    }
}
