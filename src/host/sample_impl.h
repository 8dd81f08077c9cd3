/* sample_impl.h: where the samples come from; private to src/host. */
#pragma once

#include "host/sample.h"

/* ---- sample.c: parsers of /proc, total; for the files of the back ends and for tests ---- */

/* Seconds since 1970, by which samples are dated: the simulator's time may pass faster, always from
 * the same beginning. */
double sample_clock(const struct host *h);

/* /proc/stat: busy seconds of each CPU in order; the number of them, at most max. */
size_t sample_parse_stat(const char *text, double ticks_per_s, double *ret_s, size_t max);
/* /proc/net/dev without lo and what belongs to guests. */
size_t sample_parse_net_dev(const char *text, struct host_nic_sample *ret, size_t max);
/* /proc/PID/task/TID/stat: the seconds it has run; NAN if it cannot be read. */
double sample_parse_task_stat(const char *text, double ticks_per_s);
/* A line "Name:  123 kB" of /proc/meminfo; NAN. */
double sample_parse_meminfo(const char *text, const char *name);
/* The seconds that a thread has run, as exactly as this kernel says it; NAN. */
double sample_thread(int pid, int tid);
