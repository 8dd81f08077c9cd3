/*
 * sr.h: storage repositories, what a kind of storage must do and how operations reach it.
 *
 * An operation describes the repository by a `struct sr_ref`, made from its records; nothing is
 * kept here between calls, so every verb can be repeated, and after a crash what is true is asked
 * of the storage itself. A kind is a table in one file (sr_file.c, sr_iso.c, sr_udev.c), found by
 * type.
 *
 *     struct sr_ref sr = {.uuid = rec->uuid, .type = rec->type, .device_config =
 * pbd->device_config}; TRY(sr_attach(h, &v, &sr));                         // PBD.plug
 *     TRY(sr_vdi_create(h, &v, &sr, uuid, size, sm_config, &vol));   // vol.path, .format: a boot
 * record
 *
 * Errors are XenAPI's SR_BACKEND_FAILURE_<n> ["", reason, details] with the numbers clients know
 * (16 in use, 44 no space, 46 VDI unavailable, 47 SR unavailable, 79 size, 90 device missing …).
 * Functions block; any thread but a loop.
 */
#pragma once

#include "base/val.h"
#include "host/host.h"

/* Borrowed strings and values; lives for one call. */
struct sr_ref {
    const char *uuid;
    const char *type;
    const struct val *device_config; /* of the PBD */
    const struct val *sm_config;
};

struct sr_volume {
    char *uuid;     /* "" when the storage keeps none (ISO): the caller keeps its own */
    char *location; /* file name inside the repository, device path */
    char *name;     /* "" when the storage knows none */
    char *path;     /* for diskd */
    char *format;
    char *problem; /* "" or why it cannot be read */
    uint64_t virtual_bytes, physical_bytes;
    uint64_t own_bytes; /* of data, as far as it may have a parent: what merging it moves */
    bool readonly;
    char *parent;    /* location of the volume below it, "" if none */
    bool hidden;     /* a base copy: nobody's disk, others are built on it */
    bool is_written; /* has data of its own */
    bool is_tracked; /* its changed blocks are recorded: there is a log, see sr_cbt.h */

    /* What another manager of the storage wrote down; NULL and 0 where there is nothing. */
    char *description, *snapshot_of; /* the latter a uuid, or "" */
    bool is_snapshot;
    int64_t snapshot_time; /* seconds since 1970 */
};

#define SR_CHAIN_MAX 30 /* volumes in a chain, the leaf included */

struct sr_stat {
    uint64_t size_bytes, used_bytes;
};

struct sr_kind {
    const char *type; /* "ext" */
    const char *name, *description;
    const char *content_type;       /* "user", "iso", "disk" */
    const char *const *features;    /* "SR_PROBE", … NULL-terminated; goes to SM.features */
    const char *const (*config)[2]; /* device-config key, what it is; ends with NULL */
    bool shared;

    /* Where the files are, for kinds whose volumes are files: a path or a URL, the caller's. */
    char *(*folder)(struct host *h, const struct sr_ref *sr);
    /* Names of image formats that its disks can have, NULL-terminated: SM.supported_image_formats.
     * NULL: its disks are no images. */
    const char *const *formats;
    /* Where a volume of a chain is, by its uuid and format ("vhd" …): the caller's. NULL: the kind
     * has no chains. */
    char *(*location_of)(const char *uuid, const char *format);

    /* What could be (or is) a repository there, as XenAPI's probe XML; owned by the caller. */
    struct err *(*probe)(struct host *h, const struct verb *v, const struct sr_ref *sr, char **ret);
    struct err *(*create)(struct host *h, const struct verb *v, const struct sr_ref *sr);
    struct err *(*destroy)(struct host *h, const struct verb *v, const struct sr_ref *sr);
    /* Asked before, while records are still there: an error if what is not the repository's would
     * go with it. NULL: nothing would. */
    struct err *(*check_destroy)(struct host *h, const struct verb *v, const struct sr_ref *sr);
    struct err *(*attach)(struct host *h, const struct verb *v, const struct sr_ref *sr);
    struct err *(*detach)(struct host *h, const struct verb *v, const struct sr_ref *sr);
    struct err *(*scan)(struct host *h, const struct verb *v, const struct sr_ref *sr,
                        struct sr_volume **ret, size_t *ret_n);
    struct err *(*stat)(struct host *h, const struct sr_ref *sr, struct sr_stat *ret);
    struct err *(*vdi_create)(struct host *h, const struct verb *v, const struct sr_ref *sr,
                              const char *uuid, uint64_t size, const struct val *sm_config,
                              struct sr_volume *ret);
    struct err *(*vdi_delete)(struct host *h, const struct verb *v, const struct sr_ref *sr,
                              const char *location);
    struct err *(*vdi_resize)(struct host *h, const struct verb *v, const struct sr_ref *sr,
                              const char *location, uint64_t size, struct sr_volume *ret);
    /* One volume by its location: VDI.introduce, VDI.update. */
    struct err *(*vdi_info)(struct host *h, const struct sr_ref *sr, const char *location,
                            struct sr_volume *ret);

    /* Chains; all NULL for a kind that has none. Each can be repeated. Between pause and resume
     * nobody reads or writes the volume at that location, and whoever has it attached waits.
     *
     *     split    the content goes to a new volume `base`, hidden; the location stays, as an empty
     *              child of it. At every moment the location is a volume with the same content.
     *     unsplit  the other way round, when nobody has written since; without a base: nothing
     *     child    a new empty volume on top of the one at `parent`
     *     relink   a volume gets another parent, in which all is that was between
     *     replace  the volume at `from` takes the place of the one at `location`, which goes
     *     coalesce what is in the volume goes into its parent; long, cancellable, tells progress
     *     reopen   whoever reads through the volume opens his chain anew
     *     shrink   a base copy gives back what it does not need; NULL: there is nothing to give
     */
    struct err *(*vdi_split)(struct host *h, const struct verb *v, const struct sr_ref *sr,
                             const char *location, const char *base);
    struct err *(*vdi_unsplit)(struct host *h, const struct verb *v, const struct sr_ref *sr,
                               const char *location, const char *base);
    struct err *(*vdi_child)(struct host *h, const struct verb *v, const struct sr_ref *sr,
                             const char *parent, const char *uuid);
    struct err *(*vdi_relink)(struct host *h, const struct verb *v, const struct sr_ref *sr,
                              const char *location, const char *parent);
    struct err *(*vdi_replace)(struct host *h, const struct verb *v, const struct sr_ref *sr,
                               const char *location, const char *from);
    struct err *(*vdi_coalesce)(struct host *h, const struct verb *v, const struct sr_ref *sr,
                                const char *location, uint64_t rate);
    struct err *(*vdi_pause)(struct host *h, const struct verb *v, const struct sr_ref *sr,
                             const char *location);
    struct err *(*vdi_resume)(struct host *h, const struct verb *v, const struct sr_ref *sr,
                              const char *location);
    struct err *(*vdi_reopen)(struct host *h, const struct verb *v, const struct sr_ref *sr,
                              const char *location);
    struct err *(*vdi_shrink)(struct host *h, const struct verb *v, const struct sr_ref *sr,
                              const char *location);
};

/* The kinds this build knows, NULL-terminated; and one by its type, NULL if unknown. */
const struct sr_kind *const *sr_kinds(void);
const struct sr_kind *sr_kind(const char *type);

/* As the members of sr_kind; SR_UNKNOWN_DRIVER for an unknown type, SR_OPERATION_NOT_SUPPORTED for
 * what a kind cannot do. They are executed once by v->id, like all verbs of host.h. */
struct err *sr_probe(struct host *h, const struct verb *v, const struct sr_ref *sr, char **ret)
    _must_use_;
struct err *sr_create(struct host *h, const struct verb *v, const struct sr_ref *sr) _must_use_;
struct err *sr_destroy(struct host *h, const struct verb *v, const struct sr_ref *sr) _must_use_;
struct err *sr_check_destroy(struct host *h, const struct verb *v, const struct sr_ref *sr)
    _must_use_;
struct err *sr_attach(struct host *h, const struct verb *v, const struct sr_ref *sr) _must_use_;
struct err *sr_detach(struct host *h, const struct verb *v, const struct sr_ref *sr) _must_use_;
struct err *sr_scan(struct host *h, const struct verb *v, const struct sr_ref *sr,
                    struct sr_volume **ret, size_t *ret_n) _must_use_;
struct err *sr_stat(struct host *h, const struct sr_ref *sr, struct sr_stat *ret) _must_use_;
struct err *sr_vdi_create(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *uuid, uint64_t size, const struct val *sm_config,
                          struct sr_volume *ret) _must_use_;
struct err *sr_vdi_delete(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *location) _must_use_;
struct err *sr_vdi_resize(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *location, uint64_t size, struct sr_volume *ret) _must_use_;
struct err *sr_vdi_info(struct host *h, const struct sr_ref *sr, const char *location,
                        struct sr_volume *ret) _must_use_;

/* Chains. `base` and `uuid` are uuids, everything else is a location. */
struct err *sr_vdi_split(struct host *h, const struct verb *v, const struct sr_ref *sr,
                         const char *location, const char *base) _must_use_;
struct err *sr_vdi_unsplit(struct host *h, const struct verb *v, const struct sr_ref *sr,
                           const char *location, const char *base) _must_use_;
struct err *sr_vdi_child(struct host *h, const struct verb *v, const struct sr_ref *sr,
                         const char *parent, const char *uuid) _must_use_;
struct err *sr_vdi_relink(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *location, const char *parent) _must_use_;
struct err *sr_vdi_replace(struct host *h, const struct verb *v, const struct sr_ref *sr,
                           const char *location, const char *from) _must_use_;
struct err *sr_vdi_coalesce(struct host *h, const struct verb *v, const struct sr_ref *sr,
                            const char *location, uint64_t rate) _must_use_;
struct err *sr_vdi_pause(struct host *h, const struct verb *v, const struct sr_ref *sr,
                         const char *location) _must_use_;
struct err *sr_vdi_resume(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *location) _must_use_;
struct err *sr_vdi_reopen(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *location) _must_use_;
struct err *sr_vdi_shrink(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *location) _must_use_;
/* Where a volume of a chain is, in repositories of that type, beside one at `like`, whose format it
 * has: the caller's; NULL: there are no chains. */
char *sr_chain_location(const char *type, const char *uuid, const char *like);
/* SR_BACKEND_FAILURE_109: the chain of that volume has so many, and one more is too much. */
struct err *sr_chain_too_long(const char *uuid, unsigned levels) _must_use_;

void sr_volume_done(struct sr_volume *vol);
void sr_volumes_free(struct sr_volume *vols, size_t n);
