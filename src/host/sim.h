/*
 * sim.h: the simulated world, and the knobs that tests turn in it.
 *
 * The simulator is a back end like the others: guests, their disks and saved images exist, but run
 * nowhere. Its world is a folder with one file per guest and per set of disks, so it outlives the
 * process that commands it, as real guests do: kill the daemon, start it again on the same folder,
 * and the guests are still there. Access is serialised by a lock on the folder; nothing is synced,
 * for the world needs to survive the death of processes, not of the machine.
 *
 *     <world>/lock  <world>/<vm>.guest  <world>/<owner>.disks
 *
 * A simulated guest obeys at once: shutdown posts FACT_SHUTDOWN before the verb returns.
 */
#pragma once

#include "host/host.h"

enum sim_event {
    SIM_POWER_OFF, /* the guest shuts itself down */
    SIM_REBOOT,    /* … or reboots */
    SIM_CRASH,     /* its kernel panics */
    SIM_LOSE,      /* its process dies */
    SIM_RTC,       /* sets its clock: `number` seconds against UTC */
    SIM_AGENT,     /* an agent comes up with address 10.0.0.`number`, or goes when 0 */
    SIM_DEAF,      /* from now on it ignores shutdown (number 1) or obeys again (0) */
    SIM_DROP_DISK, /* lets go of disk `number`, long after it was asked */
    SIM_DROP_NIC,  /* … of NIC `number` */
};

/* Lets a guest do something by itself; its facts are posted before this returns. */
struct err *sim_guest(struct host *h, const char *vm, enum sim_event what, int64_t number)
    _must_use_;

/* The n-th call from now (1: the next) of a verb fails with INTERNAL_ERROR, after doing half of its
 * work where it has halves. `verb` is as in struct hypervisor_ops or disk_ops. n 0 clears all. */
void sim_fail(struct host *h, const char *verb, unsigned n);

/* How fast counter number `what` of a guest grows, 1 to 16; see sim_sample.c. */
unsigned sim_rate(const char *vm, unsigned what);

/* One line per thing that exists in a world, sorted; "" if it is empty. For tests that look for
 * left-overs; needs no host. Owned by the caller. */
char *sim_world_text(const char *world_dir);
