/*
 * machine.h: the settings of the machine itself: its name, zone, clock, time servers, ssh, syslog,
 * and its power.
 *
 * An installed host asks cairn-privd for them. A development run never touches the machine: there
 * each setting is a file of its machine folder (<run_dir>/machine), with what would have been
 * written to the machine, and what cannot be pretended (its clock) is refused.
 *
 *     TRY(machine_set_hostname(op->host, "host-7"));
 *
 * Functions block; any thread but a loop. Texts must have passed their machine_is_…().
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/val.h"

struct host;

/* An installed host: what is asked for happens to the machine. */
bool machine_is_real(const struct host *h);

enum machine_ntp { MACHINE_NTP_OFF, MACHINE_NTP_USUAL, MACHINE_NTP_CUSTOM };

/* Why a text is no host name, as HOST_NAME_INVALID puts it; NULL: it is one. */
const char *machine_bad_hostname(const char *name);
/* A host name or an address, as one names a server. */
bool machine_is_server(const char *name);

struct err *machine_set_hostname(struct host *h, const char *name) _must_use_;
/* What a development run was told last; NULL: nothing, or an installed host. The caller's. */
char *machine_told_hostname(const struct host *h);

/* Zones that the machine knows, as a new set of names. */
struct val *machine_timezones(void);
bool machine_is_timezone(const char *name);
/* The one that the machine is set to. The caller's. */
char *machine_timezone(void);
struct err *machine_set_timezone(struct host *h, const char *name) _must_use_;

/* `servers` (a set of names): of MACHINE_NTP_CUSTOM; the others take those of the machine. */
struct err *machine_set_ntp(struct host *h, enum machine_ntp mode, const struct val *servers)
    _must_use_;
/* As the kernel has it. */
bool machine_clock_is_synchronized(void);
/* The time server in use, NULL if none is known of. The caller's. */
char *machine_ntp_server(const struct host *h);
struct err *machine_set_clock(struct host *h, int64_t seconds) _must_use_;

struct err *machine_set_ssh(struct host *h, bool on) _must_use_;
/* Whether the machine's firewall, if it has one, lets "ssh", "http" or "https" through. */
struct err *machine_set_firewall(struct host *h, const char *service, bool on) _must_use_;
/* Of shells on the machine's consoles; 0: none. */
struct err *machine_set_console_timeout(struct host *h, unsigned seconds) _must_use_;
/* Where the machine's log goes besides; "": nowhere. */
struct err *machine_set_syslog(struct host *h, const char *server) _must_use_;
/* Of an installed host: the machine goes down soon. Of a development run: only written down. */
struct err *machine_power(struct host *h, bool reboot) _must_use_;
/* Nodes of memory that the machine has; 1 where that is not known. */
unsigned machine_numa_nodes(void);
