/*
 * limit.h: who calls how often, and how often may.
 *
 * A Caller describes clients by the name of their program (User-Agent), their address, or both; of
 * several that fit the closest counts. A Rate_limit is a bucket that its callers share: it holds
 * burst_size tokens at most and gets fill_rate of them a second; a call takes one. A call that
 * finds none waits, parked like an event.from, until there is one: nobody is refused. The local
 * socket is not limited, so that an administrator always comes in; neither are calls in process.
 *
 *     limits_begin(c, name, params);      // instead of dispatch()
 *
 * What is counted is kept in memory since the start of the daemon; last_access is written to the
 * record at most once a minute. Any thread; one leaf mutex. Private to api/.
 */
#pragma once

#include "api/call.h"

struct limits;

struct limits *limits_new(void);
void limits_free(struct limits *); /* NULL is fine */

/* Dispatches the call, now or when its time has come. Takes the reference over; at home. */
void limits_begin(struct call *c, const char *name, const struct val *params);

/* How long a call waits whose bucket lacks `missing` tokens. For tests. */
usec_t limits_wait(double missing, double fill_rate);

/* Messages that are answered here. */
void caller_query_token_usage(struct call *c);
void caller_query_call_count(struct call *c);
void caller_query_group_token_usage(struct call *c);
void caller_query_group_call_count(struct call *c);
void caller_query_all_usage(struct call *c);
void host_get_tracked_user_agents(struct call *c);

/* auth_msg.c: passwords checked at once, as pool.local_auth_max_threads says. */
void pool_set_local_auth_max_threads(struct call *c);
void auth_take_setting(struct api *api);
