/* schedule.c: see schedule.h. */
#include "op/schedule.h"

#include <stdio.h>

#include "base/str.h"
#include "gen/error.h"

#define HOUR    INT64_C(3600)
#define DAY     INT64_C(86400)
#define QUARTER INT64_C(900)

static const char *const days[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                   "Thursday", "Friday", "Saturday"};

/* ---- the map ---- */

static bool number(const char *text, uint64_t max, int64_t *ret)
{
    uint64_t n;
    if (str_u64(view_of(text), 0, max, &n) < 0)
        return false;
    *ret = (int64_t)n;
    return true;
}

/* A bit per day of the week, Sunday first; 0 if a name is none. */
static unsigned day_set(const char *text)
{
    unsigned set = 0;
    struct view rest = view_of(text), part;
    for (bool more = true; more;) {
        more = view_split(&rest, ',', &part);
        unsigned day = 0;
        while (day < ARRAY_LEN(days) && !view_eq(view_trim(part), days[day]))
            day++;
        if (day == ARRAY_LEN(days))
            return 0;
        set |= 1u << day;
    }
    return set;
}

static bool is_valid(const char *key, const char *value)
{
    int64_t n;
    if (str_eq(key, "min"))
        return number(value, 45, &n) && n % 15 == 0;
    if (str_eq(key, "hour"))
        return number(value, 23, &n);
    return str_eq(key, "days") && day_set(value) != 0;
}

struct err *schedule_check(const struct val *schedule)
{
    for (size_t i = 0; i < val_count(schedule); i++) {
        const char *key = val_key_at(schedule, i), *value = val_str_at(schedule, i);
        if (!is_valid(key, value))
            return err_INVALID_VALUE(key, value);
    }
    return NULL;
}

struct val *schedule_complete(enum vmss_frequency frequency, const struct val *schedule)
{
    struct val *all = val_map();
    val_put_str(all, "min", val_map_str(schedule, "min", "0"));
    if (frequency != VMSS_FREQUENCY_HOURLY)
        val_put_str(all, "hour", val_map_str(schedule, "hour", "0"));
    if (frequency == VMSS_FREQUENCY_WEEKLY)
        val_put_str(all, "days", val_map_str(schedule, "days", "Monday"));
    return all;
}

/* ---- the time ---- */

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* The moment at which the wall clock shows `wall` (seconds as if it were UTC). */
static int64_t moment_of(int64_t wall, const char *zone, schedule_offset_fn offset)
{
    int64_t before = offset(zone, wall - DAY), after = offset(zone, wall + DAY);
    int64_t early = wall - (before > after ? before : after);
    int64_t late = wall - (before > after ? after : before);
    if (early + offset(zone, early) == wall)
        return early;
    if (late + offset(zone, late) == wall)
        return late;
    return wall - before; /* skipped: what the clock of the day before makes of it */
}

static int64_t next_hourly(int64_t minute, const char *zone, schedule_offset_fn offset,
                           int64_t after)
{
    int64_t at = (floor_div(after, QUARTER) + 1) * QUARTER;
    for (unsigned i = 0; i < 8; i++, at += QUARTER) {
        int64_t wall = at + offset(zone, at);
        if (wall - floor_div(wall, HOUR) * HOUR == minute * 60)
            return at;
    }
    return at;
}

int64_t schedule_next(enum vmss_frequency frequency, const struct val *schedule, const char *zone,
                      schedule_offset_fn offset, int64_t after)
{
    int64_t minute = 0, hour = 0;
    (void)number(val_map_str(schedule, "min", "0"), 59, &minute);
    (void)number(val_map_str(schedule, "hour", "0"), 23, &hour);
    unsigned set = day_set(val_map_str(schedule, "days", "Monday"));
    if (frequency == VMSS_FREQUENCY_HOURLY)
        return next_hourly(minute, zone, offset, after);
    int64_t today = floor_div(after + offset(zone, after), DAY);
    for (int64_t day = today - 1; day <= today + 8; day++) {
        unsigned weekday = (unsigned)(floor_div(day + 4, 7) * -7 + day + 4); /* day 0: Thursday */
        if (frequency == VMSS_FREQUENCY_WEEKLY && !(set & 1u << weekday))
            continue;
        int64_t at = moment_of(day * DAY + hour * HOUR + minute * 60, zone, offset);
        if (at > after)
            return at;
    }
    return after + 8 * DAY;
}
