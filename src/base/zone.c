/*
 * zone.c: see zone.h.
 *
 * A file is a header and data with 32-bit times, the same with 64-bit times, and a line with the
 * rule that holds after the last time:
 *
 *     "TZif" version … counts | times, kinds of time, … | "TZif" … | … | "\nCET-1CEST,M3.5.0,…\n"
 *
 * The second part is read and the rule; outside data, so every access is checked.
 */
#include "base/zone.h"

#include <string.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/str.h"

#define FOLDER   "/usr/share/zoneinfo"
#define FILE_MAX (256u << 10)
#define HEADER   44u
#define DAY      INT64_C(86400)

/* ---- numbers in the file ---- */

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int64_t be64(const uint8_t *p)
{
    return (int64_t)((uint64_t)be32(p) << 32 | be32(p + 4));
}

struct part {
    const uint8_t *data;
    size_t size;                                 /* of the data */
    uint32_t n_times, n_types, n_chars, n_leaps; /* counts of what the data holds */
};

/* One header at `at`, whose times have `width` bytes; false if it does not fit. */
static bool read_part(const uint8_t *file, size_t size, size_t at, size_t width, struct part *ret)
{
    if (size < HEADER || at > size - HEADER || memcmp(file + at, "TZif", 4) != 0)
        return false;
    const uint8_t *h = file + at + 20;
    uint32_t n[6];
    for (unsigned i = 0; i < 6; i++) {
        n[i] = be32(h + (size_t)4 * i);
        if (n[i] > FILE_MAX)
            return false;
    }
    *ret = (struct part){.data = file + at + HEADER,
                         .n_leaps = n[2],
                         .n_times = n[3],
                         .n_types = n[4],
                         .n_chars = n[5]};
    ret->size = n[3] * (width + 1) + (size_t)n[4] * 6 + n[5] + n[2] * (width + 4) + n[1] + n[0];
    return n[4] && ret->size <= size - HEADER - at;
}

/* Seconds east of UTC of a kind of time. */
static bool type_offset(const struct part *p, uint32_t type, int64_t *ret)
{
    if (type >= p->n_types)
        return false;
    *ret = (int32_t)be32(p->data + (size_t)p->n_times * 9 + (size_t)type * 6);
    return true;
}

/* ---- the rule behind the last time: "CET-1CEST,M3.5.0,M10.5.0/3" ---- */

static bool take_number(const char **p, int64_t *ret)
{
    size_t n = strspn(*p, "0123456789");
    uint64_t value;
    if (!n || str_u64((struct view){*p, n}, 0, 1000, &value) < 0)
        return false;
    *p += n;
    *ret = (int64_t)value;
    return true;
}

/* [+-]hh[:mm[:ss]] */
static bool take_time(const char **p, int64_t *ret)
{
    int64_t sign = **p == '-' ? -1 : 1, part, all = 0;
    *p += **p == '-' || **p == '+';
    for (int64_t unit = 3600; unit; unit /= 60) {
        if (!take_number(p, &part))
            return false;
        all += part * unit;
        if (**p != ':')
            break;
        ++*p;
    }
    *ret = sign * all;
    return true;
}

static bool take_name(const char **p)
{
    bool quoted = **p == '<';
    size_t n = quoted ? strcspn(*p, ">") : strcspn(*p, "0123456789+-,");
    if (!n || (quoted && !(*p)[n]))
        return false;
    *p += n + quoted;
    return true;
}

/* Days since 1970 of the first of a month (1 to 12). */
static int64_t days_of(int64_t year, int64_t month)
{
    static const int16_t before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    int64_t y = year - 1;
    int64_t days = 365 * (year - 1970) + y / 4 - y / 100 + y / 400 - 477;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days + before[month - 1] + (leap && month > 2);
}

static int64_t year_of(int64_t at)
{
    int64_t year = 1970 + at / (365 * DAY) + 1;
    while (days_of(year, 1) * DAY > at)
        year--;
    return year;
}

/* ",Mmonth.week.day[/time]": the moment by the wall clock of that year. */
static bool take_change(const char **p, int64_t year, int64_t *ret)
{
    int64_t month, week, day, time = 7200;
    if (*(*p)++ != ',' || *(*p)++ != 'M' || !take_number(p, &month) || *(*p)++ != '.' ||
        !take_number(p, &week) || *(*p)++ != '.' || !take_number(p, &day) || month < 1 ||
        month > 12 || week < 1 || week > 5 || day > 6)
        return false;
    if (**p == '/') {
        ++*p;
        if (!take_time(p, &time))
            return false;
    }
    int64_t first = days_of(year, month);
    int64_t next = month == 12 ? days_of(year + 1, 1) : days_of(year, month + 1);
    int64_t found = first + (day - (first + 4) % 7 + 7) % 7 + (week - 1) * 7;
    while (found >= next)
        found -= 7;
    *ret = found * DAY + time;
    return true;
}

static bool rule_offset(const char *rule, int64_t at, int64_t *ret)
{
    int64_t standard, summer, begin, end;
    if (!take_name(&rule) || !take_time(&rule, &standard))
        return false;
    *ret = standard = -standard;
    if (!*rule)
        return true;
    summer = standard + 3600;
    if (!take_name(&rule))
        return false;
    if (*rule != ',' && *rule) {
        if (!take_time(&rule, &summer))
            return false;
        summer = -summer;
    }
    int64_t year = year_of(at + standard);
    if (!take_change(&rule, year, &begin) || !take_change(&rule, year, &end))
        return false;
    begin -= standard;
    end -= summer;
    bool in = begin < end ? at >= begin && at < end : at >= begin || at < end;
    *ret = in ? summer : standard;
    return true;
}

/* ---- all of it ---- */

/* The line at the end of the file, as a string; "" if there is none. */
static void copy_rule(const uint8_t *from, size_t size, char *out, size_t out_size)
{
    const uint8_t *end = size > 1 && *from == '\n' ? memchr(from + 1, '\n', size - 1) : NULL;
    size_t n = end ? (size_t)(end - from) - 1 : 0;
    n = n < out_size ? n : 0;
    if (n)
        memcpy(out, from + 1, n);
    out[n] = '\0';
}

static bool table_offset(const struct part *p, int64_t at, int64_t *ret)
{
    const uint8_t *types = p->data + (size_t)p->n_times * 8;
    uint32_t i = 0;
    while (i < p->n_times && be64(p->data + (size_t)i * 8) <= at)
        i++;
    return type_offset(p, i ? types[i - 1] : 0, ret);
}

bool zone_offset_in(const void *file, size_t size, int64_t at, int64_t *ret)
{
    struct part old, now;
    char rule[128];
    if (!read_part(file, size, 0, 4, &old) || !read_part(file, size, HEADER + old.size, 8, &now))
        return false;
    const uint8_t *behind = now.data + now.size;
    copy_rule(behind, size - (size_t)(behind - (const uint8_t *)file), rule, sizeof(rule));
    bool after = !now.n_times || at >= be64(now.data + (size_t)(now.n_times - 1) * 8);
    if (after && rule_offset(rule, at, ret))
        return true;
    return table_offset(&now, at, ret);
}

int64_t zone_offset(const char *name, int64_t at)
{
    int64_t offset = 0;
    if (!*name || *name == '/' || strstr(name, ".."))
        return 0;
    _cleanup_(freep) char *path = mem_printf(FOLDER "/%s", name);
    _cleanup_(buf_done) struct buf file;
    buf_init(&file, FILE_MAX);
    if (fd_read_file(path, FILE_MAX, &file) < 0 ||
        !zone_offset_in(file.data, file.size, at, &offset))
        return 0;
    return offset;
}
