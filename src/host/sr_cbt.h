/*
 * sr_cbt.h: logs of changed blocks in a repository: what snapshots, reverts and deletions of disks
 * make of them.
 *
 *     s1.cbtlog ──> s2.cbtlog ──> disk.cbtlog        each tells what was written since the one
 *                                                    before it; "" before the first: since ever
 *
 * A log stands beside its disk as <uuid>.cbtlog, in XenServer's format (codec/cbtlog.h); it may
 * outlive the disk's data. While a disk is open for writing its log is cairn-diskd's: the caller
 * pauses the disk (sr_vdi_pause) before he lets its log be changed here. Logs of one repository are
 * changed one at a time. Every function can be repeated, and a crash leaves each log as it was or
 * as it will be.
 *
 * Errors are SR_BACKEND_FAILURE_459 (a log does not tell everything), 460 (no way from one disk to
 * the other), SR_OPERATION_NOT_SUPPORTED. Functions block; operation threads.
 */
#pragma once

#include "base/buf.h"
#include "host/sr.h"

#define SR_CBT_SUFFIX ".cbtlog"

/* Can disks of this repository record what is written? */
bool sr_cbt_is_supported(struct host *h, const struct sr_ref *sr);

struct sr_cbt_info {
    bool is_there;
    bool is_whole; /* false also while the disk is open for writing */
    uint64_t file_bytes;
    char child[37]; /* uuid of the disk whose log comes after; "": none */
};
struct err *sr_cbt_info(struct host *h, const struct sr_ref *sr, const char *uuid,
                        struct sr_cbt_info *ret) _must_use_;

/* A new log without neighbours; in the place of one that is there. */
struct err *sr_cbt_begin(struct host *h, const struct verb *v, const struct sr_ref *sr,
                         const char *uuid, uint64_t disk_size) _must_use_;
/* The log goes, and what was before it has nothing behind it: the recording was given up. */
struct err *sr_cbt_end(struct host *h, const struct verb *v, const struct sr_ref *sr,
                       const char *uuid) _must_use_;
/* A snapshot was taken: the disk's log becomes the snapshot's, the disk begins a new one. */
struct err *sr_cbt_split(struct host *h, const struct verb *v, const struct sr_ref *sr,
                         const char *uuid, const char *snapshot) _must_use_;
struct err *sr_cbt_unsplit(struct host *h, const struct verb *v, const struct sr_ref *sr,
                           const char *uuid, const char *snapshot) _must_use_;
/* The disk goes: what its log tells is added to the one behind it. None: nothing happens. */
struct err *sr_cbt_delete(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *uuid) _must_use_;
/* The disk becomes what it was at the snapshot: its log tells how that differs from the log before
 * it. *ret_kept false: that is not known, and the log must be ended. */
struct err *sr_cbt_revert(struct host *h, const struct verb *v, const struct sr_ref *sr,
                          const char *uuid, const char *snapshot, bool *ret_kept) _must_use_;

/* What has changed from one disk to the other, as clients are told: one bit for each 64 KiB of the
 * second, the highest bit of each byte first, in base64. */
struct err *sr_cbt_changes(struct host *h, const struct sr_ref *sr, const char *from,
                           const char *to, struct buf *ret) _must_use_;

/* Does an image have a log? Of one on a server that is a question to it. */
bool sr_cbt_has_log(struct host *h, const char *image_path);
/* Where the log of an image would be, the caller's; NULL: there is none for such. */
char *sr_cbt_beside(const char *image_path);
