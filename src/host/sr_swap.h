/*
 * sr_swap.h: chains of images in a folder where no file has two names, for kinds of storage that
 * rename but neither link nor replace: the members vdi_split, vdi_unsplit, vdi_replace and scan of
 * struct sr_kind; the others are those of sr_file.h. Private to sr*.c.
 */
#pragma once

#include "host/sr_file.h"

struct err *sr_swap_split(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *location, const char *base) _must_use_;
struct err *sr_swap_unsplit(struct host *h, const struct verb *v, const struct sr_ref *sr,
                            const char *location, const char *base) _must_use_;
struct err *sr_swap_replace(struct host *h, const struct verb *v, const struct sr_ref *sr,
                            const char *location, const char *from) _must_use_;
struct err *sr_swap_scan(struct host *h, const struct verb *v, const struct sr_ref *sr,
                         struct sr_volume **ret, size_t *ret_n) _must_use_;

/* Gives every disk its name back that a crash left without; before sr_file_tidy, which would take
 * what stands in for it for unfinished. */
struct err *sr_swap_settle(struct host *h, const char *dir) _must_use_;

#define SR_SWAP_CHAINS                                                                             \
    .formats = sr_file_formats, .location_of = sr_file_location, .vdi_split = sr_swap_split,       \
    .vdi_unsplit = sr_swap_unsplit, .vdi_child = sr_file_child, .vdi_relink = sr_file_relink,      \
    .vdi_replace = sr_swap_replace, .vdi_coalesce = sr_file_coalesce, .vdi_pause = sr_file_pause,  \
    .vdi_resume = sr_file_resume, .vdi_reopen = sr_file_reopen
