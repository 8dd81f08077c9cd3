/*
 * budget.h: bytes in flight at one repository, shared by the processes that serve its disks.
 *
 * A repository has one budget and a page of memory (a small file in memory that all of them map).
 * Whoever has requests in flight says so in a slot of his own, with the time until which that
 * counts; the budget is divided evenly among those who are busy. So nobody is asked when disks come
 * and go, a disk that does nothing takes nothing away, and what a process that was killed said is
 * over by itself.
 *
 *     struct budget *b;
 *     r = budget_open("/run/cairn/disk/<repository>.budget", 32 << 20, &b);
 *     …
 *     uint64_t mine = budget_share(b, now_us, 0);      // we are busy; this much may be in
 * flight
 *
 * One thread; times are the caller's monotonic microseconds, the same clock in all processes.
 */
#pragma once

#include <stdint.h>

#define BUDGET_USERS   1024u
#define BUDGET_BUSY_US 50000u /* how long a word counts, at least */

struct budget;
/* Makes the file if there is none. 0 or -errno; -EUSERS: all slots are taken. */
int budget_open(const char *path, uint64_t bytes, struct budget **ret);
void budget_close(struct budget *b);

/* Our part, at least one byte. We are busy for `for_us` from now on (at least BUDGET_BUSY_US): as
 * long as a request may take until we are asked again. */
uint64_t budget_share(struct budget *b, uint64_t now_us, uint64_t for_us);
/* How many are busy, we among them if so. */
unsigned budget_users(const struct budget *b, uint64_t now_us);
uint64_t budget_bytes(const struct budget *b);
