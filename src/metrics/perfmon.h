/*
 * perfmon.h: alarms on measurements, as other_config:perfmon of a guest, host or repository asks
 * for them.
 *
 *     <config><variable><name value="cpu_usage"/><alarm_trigger_level value="0.8"/>
 *       <alarm_trigger_period value="120"/><alarm_auto_inhibit_period value="3600"/>
 *     </variable></config>
 *
 * Once a minute the last minute's averages of the sources that a variable's expression matches are
 * made into one value; when that has been beyond its level for the period, an alarm is due, and no
 * other one of that variable for the inhibit period. What a variable leaves out has the default of
 * its name. Pure; one thread.
 */
#pragma once

#include "metrics/rrd.h"

struct perfmon;

/* -EINVAL with a sentence in *ret_why (the caller's); a config without variables is fine. With
 * `sr`, the uuid of a repository, this is that repository's config, and what counts are its
 * variables sr_io_throughput_total_per_host: they watch the host's traffic with it. */
int perfmon_parse(struct view xml, enum metrics_owner owner, const char *sr, struct perfmon **ret,
                  char **ret_why) _must_use_;
void perfmon_free(struct perfmon *p); /* NULL is fine */
/* Variables that are as they were keep how long they have been beyond their level. */
void perfmon_take_over(struct perfmon *p, const struct perfmon *old);

/* What no source says: shares (0 to 1) of the host itself that the control domain answers for; NAN:
 * unknown. */
struct perfmon_usage {
    double fs, log_fs, memory;
};

/* The minute that ended at `minute` (seconds since 1970). `alarm` is called for each alarm that is
 * due, with its priority and the text of its message. */
void perfmon_minute(struct perfmon *p, const struct rrd *r, int64_t minute,
                    const struct perfmon_usage *usage,
                    void (*alarm)(void *arg, int64_t priority, const char *body), void *arg);
