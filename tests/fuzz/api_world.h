/*
 * api_world.h: what the targets of the API share: a database with a VM, tasks and an API whose
 * handlers do nothing, a live session, and a loop that the target steps.
 *
 *     struct api_world *w = api_world();           // made when first wanted
 *     api_world_fill_in(w, data, size, w->vm, &body);
 *     …                                            // a call on w->loop, w->api
 *     api_world_next(w);                           // a new session or a new world where due
 */
#pragma once

#include <stdint.h>

#include "api/api.h"
#include "loop/loop.h"

struct api_world {
    struct db *db;
    struct tasks *tasks;
    struct api *api;
    struct loop *loop;
    const char *session, *vm, *uuid; /* rstr: references of a session and a VM, the VM's uuid */
    unsigned calls;
};

struct api_world *api_world(void);
/* The input, in which @S stands for the session, @R for the VM's reference, @V for `v`. */
void api_world_fill_in(const struct api_world *w, const uint8_t *data, size_t size, const char *v,
                       struct buf *out);
/* Runs what is posted to the loop. */
void api_world_step(struct api_world *w);
void api_world_next(struct api_world *w);
