/*
 * sr_file.h: volumes that are files in a folder, for kinds that know where the folder is (their
 * `folder`), on this host or on a server. Private to sr*.c.
 */
#pragma once

#include "host/sr_chain.h"

struct err *sr_file_scan(struct host *h, const struct verb *v, const struct sr_ref *sr,
                         struct sr_volume **ret, size_t *ret_n) _must_use_;
struct err *sr_file_stat(struct host *h, const struct sr_ref *sr, struct sr_stat *ret) _must_use_;
struct err *sr_file_vdi_create(struct host *h, const struct verb *v, const struct sr_ref *sr,
                               const char *uuid, uint64_t size, const struct val *sm_config,
                               struct sr_volume *ret) _must_use_;
struct err *sr_file_vdi_delete(struct host *h, const struct verb *v, const struct sr_ref *sr,
                               const char *location) _must_use_;
struct err *sr_file_vdi_resize(struct host *h, const struct verb *v, const struct sr_ref *sr,
                               const char *location, uint64_t size, struct sr_volume *ret)
    _must_use_;
struct err *sr_file_vdi_info(struct host *h, const struct sr_ref *sr, const char *location,
                             struct sr_volume *ret) _must_use_;

/* Removes what a crash left unfinished; and everything that is ours. */
struct err *sr_file_tidy(struct host *h, const char *dir) _must_use_;
struct err *sr_file_clear(struct host *h, const char *dir) _must_use_;

/* What every kind whose volumes are files offers: the beginning of its features. */
#define SR_FILE_FEATURES                                                                           \
    "SR_UPDATE", "VDI_CREATE", "VDI_DELETE", "VDI_ATTACH", "VDI_DETACH", "VDI_CLONE",              \
        "VDI_SNAPSHOT", "VDI_ACTIVATE", "VDI_DEACTIVATE", "VDI_RESIZE", "VDI_RESIZE_ONLINE",       \
        "THIN_PROVISIONING", "VDI_RESET_ON_BOOT/2"

#define SR_FILE_VOLUMES                                                                            \
    .scan = sr_file_scan, .stat = sr_file_stat, .vdi_create = sr_file_vdi_create,                  \
    .vdi_delete = sr_file_vdi_delete, .vdi_resize = sr_file_vdi_resize,                            \
    .vdi_info = sr_file_vdi_info, SR_FILE_CHAINS
