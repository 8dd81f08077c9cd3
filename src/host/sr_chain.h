/*
 * sr_chain.h: chains of VHD files in a folder, for kinds of storage whose volumes are files there
 * under <uuid>.vhd: the members vdi_split … of struct sr_kind. Private to sr*.c.
 */
#pragma once

#include "gen/error.h"
#include "host/host_impl.h"
#include "host/sr_impl.h"

extern const char *const sr_file_formats[];
char *sr_file_location(const char *uuid, const char *format);

#define SR_FILE_PART ".part" /* ends the name of what is not whole yet; goes at attach */

/* sr_file.c: the folder of the repository and the file of a volume, both the caller's. A location
 * that could lead elsewhere is refused. */
struct err *sr_file_path(struct host *h, const struct sr_ref *sr, const char *location,
                         char **ret_dir, char **ret_path) _must_use_;

struct err *sr_file_split(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *location, const char *base) _must_use_;
struct err *sr_file_unsplit(struct host *h, const struct verb *v, const struct sr_ref *sr,
                            const char *location, const char *base) _must_use_;
struct err *sr_file_child(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *parent, const char *uuid) _must_use_;
struct err *sr_file_relink(struct host *h, const struct verb *v, const struct sr_ref *sr,
                           const char *location, const char *parent) _must_use_;
struct err *sr_file_replace(struct host *h, const struct verb *v, const struct sr_ref *sr,
                            const char *location, const char *from) _must_use_;
struct err *sr_file_coalesce(struct host *h, const struct verb *v, const struct sr_ref *sr,
                             const char *location, uint64_t rate) _must_use_;
struct err *sr_file_pause(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *location) _must_use_;
struct err *sr_file_resume(struct host *h, const struct verb *v, const struct sr_ref *sr,
                           const char *location) _must_use_;
struct err *sr_file_reopen(struct host *h, const struct verb *v, const struct sr_ref *sr,
                           const char *location) _must_use_;

#define SR_FILE_CHAINS                                                                             \
    .formats = sr_file_formats, .location_of = sr_file_location, .vdi_split = sr_file_split,       \
    .vdi_unsplit = sr_file_unsplit, .vdi_child = sr_file_child, .vdi_relink = sr_file_relink,      \
    .vdi_replace = sr_file_replace, .vdi_coalesce = sr_file_coalesce, .vdi_pause = sr_file_pause,  \
    .vdi_resume = sr_file_resume, .vdi_reopen = sr_file_reopen
