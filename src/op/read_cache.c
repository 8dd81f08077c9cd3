/*
 * read_cache.c: see read_cache.h. Pure but for the records; on core, or on operation threads.
 */
#include "op/read_cache.h"

#include "op/vdi_chain.h"

#define ENABLED "read-caching-enabled-on-"
#define REASON  "read-caching-reason-"
#define FEATURE "VDI_READ_CACHING"

static bool is_on(const struct val *other_config, const char *key)
{
    return str_eq(val_map_str(other_config, key, ""), "true");
}

/* Why images must not be taken from the page cache; NULL: they may. */
static const char *why_around(const struct rec_SR *sr, const struct rec_VDI *vdi)
{
    const struct sr_kind *k = sr_kind(sr->type);
    bool can = false;
    for (const char *const *f = k ? k->features : NULL; f && *f && !can; f++)
        can = str_eq(*f, FEATURE);
    if (!can)
        return "SR_NOT_SUPPORTED";
    if (is_on(sr->other_config, "o_direct"))
        return "SR_OVERRIDE";
    return is_on(vdi->other_config, "o_direct") ? "VDI_OVERRIDE" : NULL;
}

const char *read_cache_why_not(const struct snap *s, const struct rec_VDI *vdi, bool is_written)
{
    const struct rec_SR *sr = snap_SR(s, vdi->SR);
    const char *why = sr ? why_around(sr, vdi) : "SR_NOT_SUPPORTED";
    if (why)
        return why;
    return is_written && !chain_parent(s, vdi) ? "RO_WITH_NO_PARENT" : NULL;
}

/* Libraries of CD images are read by many, and written by nobody. */
void read_cache_choose(const struct rec_SR *sr, const struct rec_VDI *vdi, struct image *image)
{
    image->uncached = !str_eq(sr->content_type, "iso") && why_around(sr, vdi);
}

struct val *read_cache_strip(const struct val *sm_config)
{
    struct val *rest = val_map();
    for (size_t i = 0; i < val_count(sm_config); i++) {
        const char *key = val_key_at(sm_config, i);
        if (!str_starts(key, ENABLED) && !str_starts(key, REASON))
            val_put(rest, key, val_ref(val_at(sm_config, i)));
    }
    return rest;
}

static void put(struct val *map, const char *prefix, const char *host, const char *value)
{
    _cleanup_(freep) char *key = mem_printf("%s%s", prefix, host);
    val_put_str(map, key, value);
}

static void put_state(struct txn *t, const struct rec_VDI *vdi, const struct rec_VBD *vbd,
                      struct val *config)
{
    const struct rec_VM *vm = txn_VM(t, vbd->VM);
    const struct rec_host *host = vm ? txn_host(t, vm->resident_on) : NULL;
    if (!host || !vbd->currently_attached || vbd->type == VBD_TYPE_CD)
        return;
    bool is_written = vbd->mode == VBD_MODE_RW && !vdi->read_only;
    const char *why = read_cache_why_not(txn_snap(t), vdi, is_written);
    put(config, ENABLED, host->uuid, why ? "false" : "true");
    if (why)
        put(config, REASON, host->uuid, why);
}

void read_cache_note(struct txn *t, const char *ref)
{
    const struct rec_VDI *vdi = ref_is_null(ref) ? NULL : txn_VDI(t, ref);
    if (!vdi)
        return;
    _cleanup_(val_unrefp) struct val *config = read_cache_strip(vdi->sm_config);
    val_each (vbd, vdi->VBDs) {
        const struct rec_VBD *row = txn_VBD(t, vbd);
        if (row)
            put_state(t, vdi, row, config);
    }
    if (!val_equal(config, vdi->sm_config))
        val_assign(&txn_edit_VDI(t, ref)->sm_config, val_ref(config));
}
