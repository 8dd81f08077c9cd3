/*
 * event.h: telling clients what changed.
 *
 * event.from is a question with a memory of its own, the token: what changed since? If nothing did,
 * the call is parked on state/watch and asks again when something has, so waiting costs no thread.
 * event.register and next are the older form, with the memory kept per session here.
 *
 * Private to api/.
 */
#pragma once

#include "api/call.h"

struct events *events_new(struct api *api);
void events_free(struct events *); /* NULL is fine */

/* Wakes what waits on a session that has ended; forgets its registration. */
void event_session_ended(struct events *, const char *session);
size_t events_parked(struct events *);
/* Every 30 s or so. */
void event_keep_alive(struct events *);

/* The messages of class event. */
void event_from(struct call *c);
void event_next(struct call *c);
void event_register(struct call *c);
void event_unregister(struct call *c);
void event_inject(struct call *c);
void event_get_current_id(struct call *c);
