/*
 * priv.h: asking cairn-privd for what needs root.
 *
 * cairnd runs without privileges; the few verbs that need them are done by cairn-privd, which
 * checks every request again for itself. A request and its answer are one line of JSON each on a
 * unix socket (docs/privd.md); a new connection is made for each, so a privd that was killed and
 * restarted goes unnoticed, and one that is missing is an error that says so.
 *
 *     TRY(priv_mount(h->privd, "/dev/sdb1", 0, 0, dir));
 *
 * Functions block (up to 60 s); any thread but a loop. `socket` NULL: no privd is configured.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/val.h"

/* Mounts an ext4 file system, which is on a device or in so many bytes of it (size 0: all); the
 * folder must lie below privd's mount folder. Mounted there already is fine. */
struct err *priv_mount(const char *socket, const char *device, uint64_t offset, uint64_t size,
                       const char *dir) _must_use_;
struct err *priv_umount(const char *socket, const char *dir) _must_use_; /* not mounted is fine */
/* A phrase that says what a device carries or who uses it, "" if it is free. The caller's. */
struct err *priv_examine(const char *socket, const char *device, char **ret) _must_use_;
/* Formats a device with ext4 labelled `label`. What it carries is examined by privd too: anything
 * in use or with a signature is refused unless `force`; mounted is always refused. */
struct err *priv_mkfs(const char *socket, const char *device, const char *label, bool force)
    _must_use_;
/* A device of its own as the volume group of a repository, and volumes in it; sizes are bytes, made
 * whole extents by lvm2's tools. A device that carries something is refused unless `force`. */
struct err *priv_vg_create(const char *socket, const char *device, const char *group, bool force)
    _must_use_;
struct err *priv_vg_remove(const char *socket, const char *device, const char *group) _must_use_;
struct err *priv_lv_create(const char *socket, const char *device, const char *group,
                           const char *volume, uint64_t size) _must_use_;
struct err *priv_lv_extend(const char *socket, const char *device, const char *group,
                           const char *volume, uint64_t size) _must_use_;
struct err *priv_lv_reduce(const char *socket, const char *device, const char *group,
                           const char *volume, uint64_t size) _must_use_;
/* Others may write to it, whatever was said before. */
struct err *priv_lv_writable(const char *socket, const char *device, const char *group,
                             const char *volume) _must_use_;
struct err *priv_lv_rename(const char *socket, const char *device, const char *group,
                           const char *volume, const char *to) _must_use_;
struct err *priv_lv_remove(const char *socket, const char *device, const char *group,
                           const char *volume) _must_use_;
/* Makes or removes a tap interface that the uid of this process may open. */
struct err *priv_tap_add(const char *socket, const char *name) _must_use_;
struct err *priv_tap_del(const char *socket, const char *name) _must_use_; /* absent is fine */
/* True if the password is right. An error is one of the machinery. */
struct err *priv_authenticate(const char *socket, const char *user, const char *password,
                              bool *ret_ok) _must_use_;
/* Runs a plugin of the plugin folder; output is the caller's. `input` NULL: none. */
struct err *priv_run_plugin(const char *socket, const char *plugin, const char *argument,
                            const char *input, int *ret_status, char **ret_out, char **ret_err)
    _must_use_;
/* Runs an extension with a call on its stdin. */
struct err *priv_run_extension(const char *socket, const char *extension, const char *input,
                               int *ret_status, char **ret_out, char **ret_err) _must_use_;
/* The kernel's messages; with `clear` they are forgotten. The caller's. */
struct err *priv_kernel_log(const char *socket, bool clear, char **ret) _must_use_;
/* A listening TCP socket for a port below 1024. */
struct err *priv_listen(const char *socket, const char *address, uint16_t port, int *ret_fd)
    _must_use_;
/* A verb whose answer is nothing but that it was done. The request, a map, is taken over. */
struct err *priv_do(const char *socket, struct val *request) _must_use_;
