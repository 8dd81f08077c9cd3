/*
 * verbs.h: the fixed list of what cairn-privd does.
 *
 * Each request runs in a child process of its own (main.c), so a verb may block, crash or be killed
 * at its deadline without touching the others. A verb trusts nothing: it checks every argument
 * against what the command line of privd allows, whoever asks.
 */
#pragma once

#include <sys/types.h>

#include "base/val.h"

struct privd_config {
    const char *socket;
    const char *mounts;      /* folder below which file systems may be mounted */
    const char *plugins;     /* folder of plugins, owned by root */
    const char *pam_service; /* PAM's name for us */
    uid_t allowed;           /* who may ask, besides root */
};

struct reply {
    struct val *result; /* members of the answer */
    int fd;             /* sent along, or -1 */
};

/* Executes a request of the peer `uid`. NULL is success; else a sentence that says what is wrong
 * (owned by the caller). */
char *verbs_execute(const struct privd_config *c, uid_t uid, const struct val *request,
                    struct reply *ret);
