/*
 * sr.c: the front of storage: finds the kind, queues verbs, executes changing ones once.
 *
 * Called by operations on their own threads. Knows nothing of any kind of storage.
 */
#include "host/sr.h"

#include "base/str.h"
#include "gen/error.h"
#include "host/disk_format.h"
#include "host/host_impl.h"
#include "host/sr_impl.h"

static const struct sr_kind *const kinds[] = {
    &sr_kind_ext,       &sr_kind_file,  &sr_kind_iso, &sr_kind_udev, &sr_kind_nfs,
    &sr_kind_smb,       &sr_kind_iscsi, &sr_kind_rbd, &sr_kind_lvm,  &sr_kind_lvmohba,
    &sr_kind_lvmoiscsi, &sr_kind_dummy, NULL};

const struct sr_kind *const *sr_kinds(void)
{
    return kinds;
}

const struct sr_kind *sr_kind(const char *type)
{
    for (unsigned i = 0; kinds[i]; i++)
        if (str_eq(kinds[i]->type, type))
            return kinds[i];
    return NULL;
}

struct err *sr_error_at(const char *file, int line, int code, const char *reason,
                        const char *detail)
{
    char name[40];
    snprintf(name, sizeof(name), "SR_BACKEND_FAILURE_%d", code);
    const char *const params[] = {"", reason, detail};
    return err_make_v(name, file, line, 3, params);
}

struct err *sr_wrap(struct err *e, int code, const char *reason)
{
    if (!e || str_starts(err_code(e), "SR_BACKEND_FAILURE") || err_is(e, "TASK_CANCELLED"))
        return e;
    struct err *wrapped = sr_error(code, reason, err_param(e, 0));
    err_free(e);
    return wrapped;
}

void sr_volume_done(struct sr_volume *vol)
{
    free(vol->uuid);
    free(vol->location);
    free(vol->name);
    free(vol->description);
    free(vol->snapshot_of);
    free(vol->path);
    free(vol->format);
    free(vol->problem);
    free(vol->parent);
    *vol = (struct sr_volume){0};
}

void sr_volumes_free(struct sr_volume *vols, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sr_volume_done(&vols[i]);
    free(vols);
}

static struct err *find(const struct sr_ref *sr, const struct sr_kind **ret)
{
    *ret = sr_kind(sr->type);
    return *ret ? NULL : err_SR_UNKNOWN_DRIVER(sr->type);
}

/* Finds the kind in `k`, and refuses what it cannot do. */
#define FIND(k, sr, verb)                                                                          \
    const struct sr_kind *k = NULL;                                                                \
    TRY(find((sr), &k));                                                                           \
    if (!k->verb)                                                                                  \
    return err_SR_OPERATION_NOT_SUPPORTED((sr)->uuid)

/* A changing verb: queued by what it changes, executed once. */
#define SR_VERB(h, v, what, subject, call)                                                         \
    do {                                                                                           \
        _cleanup_(turn_end) struct turn turn = {0};                                                \
        if (turn_begin(&turn, (h), (v), (what), (subject)))                                        \
            turn_done(&turn, (call));                                                              \
        return turn_result(&turn);                                                                 \
    } while (0)

/* A verb with a result: queued and open to faults, but executed again when it is repeated, for its
 * result is asked for. Kinds see to it that a repetition finds what the first one made. */
#define SR_QUERY(h, v, what, subject, call)                                                        \
    do {                                                                                           \
        _cleanup_(turn_end) struct turn turn = {0};                                                \
        struct verb any = *(v);                                                                    \
        any.id.op = NULL;                                                                          \
        if (turn_begin(&turn, (h), &any, (what), (subject)))                                       \
            turn_done(&turn, (call));                                                              \
        return turn_result(&turn);                                                                 \
    } while (0)

struct err *sr_probe(struct host *h, const struct verb *v, const struct sr_ref *sr, char **ret)
{
    FIND(k, sr, probe);
    SR_QUERY(h, v, "sr probe", NULL, k->probe(h, v, sr, ret));
}

struct err *sr_create(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    FIND(k, sr, create);
    SR_VERB(h, v, "sr create", sr->uuid, k->create(h, v, sr));
}

struct err *sr_destroy(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    FIND(k, sr, destroy);
    SR_VERB(h, v, "sr destroy", sr->uuid, k->destroy(h, v, sr));
}

struct err *sr_check_destroy(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    const struct sr_kind *k = NULL;
    TRY(find(sr, &k));
    return k->check_destroy ? k->check_destroy(h, v, sr) : NULL;
}

struct err *sr_attach(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    FIND(k, sr, attach);
    SR_VERB(h, v, "sr attach", sr->uuid, k->attach(h, v, sr));
}

struct err *sr_detach(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    FIND(k, sr, detach);
    SR_VERB(h, v, "sr detach", sr->uuid, k->detach(h, v, sr));
}

struct err *sr_scan(struct host *h, const struct verb *v, const struct sr_ref *sr,
                    struct sr_volume **ret, size_t *ret_n)
{
    FIND(k, sr, scan);
    SR_QUERY(h, v, "sr scan", sr->uuid, k->scan(h, v, sr, ret, ret_n));
}

struct err *sr_stat(struct host *h, const struct sr_ref *sr, struct sr_stat *ret)
{
    FIND(k, sr, stat);
    return k->stat(h, sr, ret);
}

struct err *sr_vdi_create(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *uuid, uint64_t size, const struct val *sm_config,
                          struct sr_volume *ret)
{
    FIND(k, sr, vdi_create);
    SR_QUERY(h, v, "vdi create", uuid, k->vdi_create(h, v, sr, uuid, size, sm_config, ret));
}

struct err *sr_vdi_delete(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *location)
{
    FIND(k, sr, vdi_delete);
    SR_VERB(h, v, "vdi delete", location, k->vdi_delete(h, v, sr, location));
}

struct err *sr_vdi_resize(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *location, uint64_t size, struct sr_volume *ret)
{
    FIND(k, sr, vdi_resize);
    SR_QUERY(h, v, "vdi resize", location, k->vdi_resize(h, v, sr, location, size, ret));
}

struct err *sr_vdi_info(struct host *h, const struct sr_ref *sr, const char *location,
                        struct sr_volume *ret)
{
    FIND(k, sr, vdi_info);
    return k->vdi_info(h, sr, location, ret);
}

/* ---- chains ---- */

char *sr_chain_location(const char *type, const char *uuid, const char *like)
{
    const struct sr_kind *k = sr_kind(type);
    const char *format = disk_format_of(like);
    if (!k || !k->location_of)
        return NULL;
    if (!format)
        format = disk_format_of_volume(like);
    return k->location_of(uuid, format && disk_has_chain(format) ? format : "vhd");
}

struct err *sr_chain_too_long(const char *uuid, unsigned levels)
{
    _cleanup_(freep) char *text =
        mem_printf("the chain of VDI '%s' has %u of at most %u levels; wait until it has been "
                   "coalesced, or delete snapshots",
                   uuid, levels, SR_CHAIN_MAX);
    return sr_error(SR_CHAIN_TOO_LONG, "The snapshot chain is too long", text);
}

struct err *sr_vdi_split(struct host *h, const struct verb *v, const struct sr_ref *sr,
                         const char *location, const char *base)
{
    FIND(k, sr, vdi_split);
    SR_VERB(h, v, "vdi split", location, k->vdi_split(h, v, sr, location, base));
}

struct err *sr_vdi_unsplit(struct host *h, const struct verb *v, const struct sr_ref *sr,
                           const char *location, const char *base)
{
    FIND(k, sr, vdi_unsplit);
    SR_VERB(h, v, "vdi unsplit", location, k->vdi_unsplit(h, v, sr, location, base));
}

struct err *sr_vdi_child(struct host *h, const struct verb *v, const struct sr_ref *sr,
                         const char *parent, const char *uuid)
{
    FIND(k, sr, vdi_child);
    SR_VERB(h, v, "vdi child", uuid, k->vdi_child(h, v, sr, parent, uuid));
}

struct err *sr_vdi_relink(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *location, const char *parent)
{
    FIND(k, sr, vdi_relink);
    SR_VERB(h, v, "vdi relink", location, k->vdi_relink(h, v, sr, location, parent));
}

struct err *sr_vdi_replace(struct host *h, const struct verb *v, const struct sr_ref *sr,
                           const char *location, const char *from)
{
    FIND(k, sr, vdi_replace);
    SR_VERB(h, v, "vdi replace", location, k->vdi_replace(h, v, sr, location, from));
}

struct err *sr_vdi_coalesce(struct host *h, const struct verb *v, const struct sr_ref *sr,
                            const char *location, uint64_t rate)
{
    FIND(k, sr, vdi_coalesce);
    SR_VERB(h, v, "vdi coalesce", location, k->vdi_coalesce(h, v, sr, location, rate));
}

struct err *sr_vdi_pause(struct host *h, const struct verb *v, const struct sr_ref *sr,
                         const char *location)
{
    FIND(k, sr, vdi_pause);
    SR_VERB(h, v, "vdi pause", location, k->vdi_pause(h, v, sr, location));
}

struct err *sr_vdi_resume(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *location)
{
    FIND(k, sr, vdi_resume);
    SR_VERB(h, v, "vdi resume", location, k->vdi_resume(h, v, sr, location));
}

struct err *sr_vdi_reopen(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *location)
{
    FIND(k, sr, vdi_reopen);
    SR_VERB(h, v, "vdi reopen", location, k->vdi_reopen(h, v, sr, location));
}

struct err *sr_vdi_shrink(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *location)
{
    const struct sr_kind *k;
    TRY(find(sr, &k));
    if (!k->vdi_shrink)
        return NULL;
    SR_VERB(h, v, "vdi shrink", location, k->vdi_shrink(h, v, sr, location));
}
