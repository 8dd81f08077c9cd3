/*
 * measure.h: what src/op keeps to measure: a meter for each guest that runs, each repository that
 * is attached, and the host. Private to src/op; of the thread that calls ops_measure().
 */
#pragma once

#include "base/vec.h"
#include "host/sample.h"
#include "metrics/metrics.h"
#include "metrics/perfmon.h"
#include "op/world.h"

/* Sources with their values, side by side. */
struct readings {
    VEC(const struct source *) sources;
    VEC(double) values;
};

/* What a disk, or all disks of a repository, have done since some time; and at the last sample. */
struct io_counters {
    bool known;
    double time;
    double read_bytes, write_bytes, read_ops, write_ops, read_us, write_us, inflight;
    double hit_bytes, miss_bytes, copy_hit_bytes, copy_miss_bytes;
};

struct disk_meter {
    char name[8];   /* "xvda" */
    const char *sr; /* rstr, ref of the repository, "" if it has no disk in it */
    struct io_counters last;
};

/* The alarms that an object's other_config asks for. */
struct watch_meter {
    const char *config;      /* rstr, as it was read */
    struct perfmon *perfmon; /* NULL: none, or it cannot be read */
};

struct vm_meter {
    const char *uuid, *ref; /* rstr */
    bool seen;              /* in this round */
    bool reports;           /* its guest has told its free memory */
    struct guest_sample sample;
    VEC(struct disk_meter) disks; /* beside sample.disks */
    double *last_cpu_s;
    double last_time;
    struct readings readings;
    struct watch_meter watch;
};

struct sr_meter {
    const char *uuid, *ref; /* rstr */
    bool seen;
    char name[9];                   /* the beginning of its uuid */
    struct io_counters total, last; /* of all its disks */
    struct watch_meter watch, host_watch;
};

struct measure {
    VEC(struct vm_meter *) vms;
    struct pmap *vm_by_uuid;
    VEC(struct sr_meter *) srs;
    double copy_hit_bytes, copy_miss_bytes; /* of all disks, since the daemon began */
    struct readings host;
    char *host_signature; /* what the host's sources were made for */
    struct watch_meter host_watch;
    struct host_sample machine;
    double running_cpus; /* of all guests, on average since the last round */
    unsigned running_vms;
    int64_t minute; /* the last one that alarms have looked at */
    double swept;   /* when files of nobody were looked for */
};

struct measure *measure_new(void);
void measure_free(struct measure *m); /* NULL is fine */

/* The readings of one disk or repository, by the kinds that begin with `first` (…_READ). */
void measure_io(struct metrics *m, struct readings *r, enum source_kind_id first,
                const char *device, const struct io_counters *now, const struct io_counters *last);
void readings_add(struct readings *r, const struct source *s, double value);
void readings_clear(struct readings *r);

/* ---- measure_alarm.c ---- */

/* Once a minute: the alarms of all that was measured. `now` is the beginning of the round. */
struct err *measure_alarms(struct ops *ops, const struct snap *s, double now) _must_use_;
void watch_meter_done(struct watch_meter *w);
