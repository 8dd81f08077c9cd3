/*
 * sr_secret.c: passwords among the configuration of storage. A client gives them as they are, or
 * names a secret; the record only ever names one ("chappassword" becomes "chappassword_secret"),
 * and the storage is told the password itself.
 */
#include "op/sr_ops.h"

static const char *const passwords[] = {"chappassword", "incoming_chappassword", "cifspassword",
                                        "password"};

struct val *sr_secrets_hide(struct txn *t, const struct val *config)
{
    struct val *hidden = val_copy(config);
    for (size_t i = 0; i < ARRAY_LEN(passwords); i++) {
        const char *value = val_map_str(config, passwords[i], NULL);
        _cleanup_(freep) char *key = mem_printf("%s_secret", passwords[i]);
        if (!value)
            continue;
        struct rec_secret *secret = txn_add_secret(t);
        rstr_set(&secret->value, value);
        val_del(hidden, passwords[i]);
        val_put_str(hidden, key, secret->uuid);
    }
    return hidden;
}

struct val *sr_secrets_show(const struct snap *s, const struct val *config)
{
    struct val *shown = val_copy(config);
    for (size_t i = 0; i < ARRAY_LEN(passwords); i++) {
        _cleanup_(freep) char *key = mem_printf("%s_secret", passwords[i]);
        const char *uuid = val_map_str(config, key, NULL);
        const struct rec_secret *secret = uuid ? snap_secret_by_uuid(s, uuid) : NULL;
        if (secret)
            val_put_str(shown, passwords[i], secret->value);
    }
    return shown;
}
