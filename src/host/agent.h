/*
 * agent.h: talking to the guest agent of one guest. Private to src/host.
 *
 * QEMU tells when something inside has opened the agent's port; from then on the agent is asked in
 * turn who it is, which system it runs and which addresses it has, every 5 s, and what it says is
 * handed to on_data in the form of hypervisor.h when it differs from before. An agent that gives no
 * answer for 15 s, or closes its port, is gone: on_data with an empty map. Between those rounds it
 * can be asked something else, one thing at a time. All on the mon loop.
 */
#pragma once

#include "base/err.h"
#include "base/val.h"
#include "loop/loop.h"

struct agent;
typedef void (*agent_data_fn)(void *arg, const struct val *data);

/* Takes the connected descriptor over. */
struct agent *agent_new(struct loop *l, int fd, agent_data_fn on_data, void *arg);
void agent_free(struct agent *a); /* NULL is fine */
void agent_set_open(struct agent *a, bool open);
bool agent_is_alive(const struct agent *a);
/* Asks the guest to go down; an error when no agent answers. */
struct err *agent_shutdown(struct agent *a, bool reboot) _must_use_;

/* One request, a line of JSON, and its answer: `result` is borrowed, NULL with an error (taken
 * over). Called once, perhaps before agent_ask returns, and not after agent_forget. */
typedef void (*agent_answer_fn)(void *arg, struct err *e, const struct val *result);
void agent_ask(struct agent *a, const char *line, agent_answer_fn answer, void *arg);
void agent_forget(struct agent *a);

/* The data of hypervisor.h out of the agent's answers (any may be NULL). For tests. */
struct val *agent_data(const struct val *info, const struct val *os, const struct val *nets);
