/*
 * verbs.h: the fixed list of what cairn-privd does, and nothing else.
 *
 * Each verb stands with its members, its rules, the capabilities it keeps and its deadline in the
 * table of verbs.c. A verb runs in a process of its own (server.c), after confine_verb(), for a
 * request whose form is checked; it asks the kernel about everything else itself.
 */
#pragma once

#include "privd/place.h"
#include "privd/request.h"

extern const struct verb verbs[]; /* ends with an entry without a name */

/* verbs.c: that we live, and as which process. */
struct err *verb_ping(const struct place *p, const struct request *r, struct val *answer,
                      int *ret_fd);
/* mount.c */
struct err *verb_mount(const struct place *p, const struct request *r, struct val *answer,
                       int *ret_fd);
struct err *verb_umount(const struct place *p, const struct request *r, struct val *answer,
                        int *ret_fd);
/* format.c */
struct err *verb_examine(const struct place *p, const struct request *r, struct val *answer,
                         int *ret_fd);
struct err *verb_mkfs(const struct place *p, const struct request *r, struct val *answer,
                      int *ret_fd);
/* tap.c */
struct err *verb_tap_add(const struct place *p, const struct request *r, struct val *answer,
                         int *ret_fd);
struct err *verb_tap_del(const struct place *p, const struct request *r, struct val *answer,
                         int *ret_fd);
/* pam.c */
struct err *verb_authenticate(const struct place *p, const struct request *r, struct val *answer,
                              int *ret_fd);
/* plugin.c */
struct err *verb_run_plugin(const struct place *p, const struct request *r, struct val *answer,
                            int *ret_fd);
struct err *verb_run_extension(const struct place *p, const struct request *r, struct val *answer,
                               int *ret_fd);
/* kernel_log.c */
struct err *verb_kernel_log(const struct place *p, const struct request *r, struct val *answer,
                            int *ret_fd);
/* listen.c */
struct err *verb_listen(const struct place *p, const struct request *r, struct val *answer,
                        int *ret_fd);
/* lvm.c, machine.c */
#define VERB(name)                                                                                 \
    struct err *verb_##name(const struct place *p, const struct request *r, struct val *answer,    \
                            int *ret_fd)
VERB(lv_create);
VERB(lv_extend);
VERB(lv_reduce);
VERB(lv_remove);
VERB(lv_rename);
VERB(lv_writable);
VERB(vg_create);
VERB(vg_remove);
VERB(set_hostname);
VERB(set_timezone);
VERB(set_ntp);
VERB(set_clock);
VERB(set_ssh);
VERB(set_firewall);
VERB(set_console_timeout);
VERB(set_syslog);
VERB(power);
#undef VERB
