/* sr_ref.c: from the records of an SR to what the storage layer wants to know. */
#include "op/world.h"

/* The PBD of this host: there is one host; the pool adds the choice. */
static const struct rec_PBD *pbd_of(const struct snap *s, const struct rec_SR *sr)
{
    return val_count(sr->PBDs) ? snap_PBD(s, val_str_at(sr->PBDs, 0)) : NULL;
}

struct err *sr_ref_of(const struct snap *s, const struct rec_SR *sr, bool must_be_attached,
                      struct sr_ref *ret)
{
    const struct rec_PBD *pbd = pbd_of(s, sr);
    if (!pbd && must_be_attached)
        return err_SR_HAS_NO_PBDS(sr->row.ref);
    if (must_be_attached && !pbd->currently_attached)
        return err_SR_NOT_ATTACHED(sr->row.ref);
    *ret = (struct sr_ref){.uuid = sr->uuid,
                           .type = sr->type,
                           .device_config = pbd ? pbd->device_config : val_empty_map(),
                           .sm_config = sr->sm_config};
    return NULL;
}
