/* str.c: see str.h. */
#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>

bool view_eq(struct view v, const char *s)
{
    return strlen(s) == v.size && memcmp(v.p, s, v.size) == 0;
}

bool view_ieq(struct view v, const char *s)
{
    return strlen(s) == v.size && strncasecmp(v.p, s, v.size) == 0;
}

bool view_starts(struct view v, const char *prefix)
{
    size_t n = strlen(prefix);
    return n <= v.size && memcmp(v.p, prefix, n) == 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct view view_trim(struct view v)
{
    while (v.size && is_blank(v.p[0]))
        v = view_cut(v, 1);
    while (v.size && is_blank(v.p[v.size - 1]))
        v.size--;
    return v;
}

struct view view_cut(struct view v, size_t from)
{
    if (from > v.size)
        from = v.size;
    return from ? (struct view){v.p + from, v.size - from} : v; /* p may be NULL */
}

bool view_split(struct view *v, char sep, struct view *head)
{
    const char *at = v->size ? memchr(v->p, sep, v->size) : NULL;
    if (!at) {
        *head = *v;
        *v = view_cut(*v, v->size);
        return false;
    }
    *head = (struct view){v->p, (size_t)(at - v->p)};
    *v = view_cut(*v, head->size + 1);
    return true;
}

char *view_dup(struct view v)
{
    char *s = mem_zalloc(v.size + 1, 1);
    if (v.size)
        memcpy(s, v.p, v.size);
    return s;
}

int str_u64(struct view v, uint64_t min, uint64_t max, uint64_t *ret)
{
    if (!v.size)
        return -EINVAL;
    uint64_t n = 0;
    for (size_t i = 0; i < v.size; i++) {
        if (v.p[i] < '0' || v.p[i] > '9')
            return -EINVAL;
        if (__builtin_mul_overflow(n, 10u, &n) ||
            __builtin_add_overflow(n, (uint64_t)(v.p[i] - '0'), &n))
            return -ERANGE;
    }
    if (n < min || n > max)
        return -ERANGE;
    *ret = n;
    return 0;
}

int str_i64(struct view v, int64_t min, int64_t max, int64_t *ret)
{
    bool negative = v.size && v.p[0] == '-';
    uint64_t n;
    int r = str_u64(negative ? view_cut(v, 1) : v, 0, (uint64_t)INT64_MAX + negative, &n);
    if (r < 0)
        return r;
    int64_t i = negative ? (int64_t)(0 - n) : (int64_t)n;
    if (i < min || i > max)
        return -ERANGE;
    *ret = i;
    return 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int str_hex64(struct view v, uint64_t *ret)
{
    if (!v.size || v.size > 16)
        return -EINVAL;
    uint64_t n = 0;
    for (size_t i = 0; i < v.size; i++) {
        int d = hex_digit(v.p[i]);
        if (d < 0)
            return -EINVAL;
        n = n << 4 | (uint64_t)d;
    }
    *ret = n;
    return 0;
}

int str_double(struct view v, double *ret)
{
    char text[64];
    if (!v.size || v.size >= sizeof(text) || isspace((unsigned char)v.p[0]))
        return -EINVAL;
    memcpy(text, v.p, v.size);
    text[v.size] = '\0';
    char *end;
    double d = strtod(text, &end); /* the program never leaves the C locale */
    if (*end || strlen(text) != v.size)
        return -EINVAL;
    *ret = d;
    return 0;
}

int str_size(struct view v, uint64_t *ret)
{
    static const struct {
        const char *suffix;
        unsigned shift;
    } units[] = {{"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40},
                 {"k", 10},   {"M", 20},   {"G", 30},   {"T", 40}};
    unsigned shift = 0;
    for (size_t i = 0; i < ARRAY_LEN(units) && !shift; i++) {
        size_t n = strlen(units[i].suffix);
        if (v.size <= n || !view_ieq(view_cut(v, v.size - n), units[i].suffix))
            continue;
        v.size -= n;
        shift = units[i].shift;
    }
    uint64_t n;
    int r = str_u64(v, 0, UINT64_MAX >> shift, &n);
    if (r < 0)
        return r;
    *ret = n << shift;
    return 0;
}

bool str_eq(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

bool str_starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return m <= n && strcmp(s + n - m, suffix) == 0;
}

/* Bytes of the sequence that starts at p, 0 if it is malformed (overlong, surrogate, cut). */
static size_t utf8_sequence(const unsigned char *p, size_t left)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = p[0] < 0x80             ? 1
               : (p[0] & 0xe0) == 0xc0 ? 2
               : (p[0] & 0xf0) == 0xe0 ? 3
               : (p[0] & 0xf8) == 0xf0 ? 4
                                       : 0;
    if (n < 2 || n > left)
        return n == 1 ? 1 : 0;
    uint32_t c = p[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3fu);
    }
    return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) ? 0 : n;
}

bool str_is_utf8(struct view v)
{
    for (size_t i = 0, n; i < v.size; i += n) {
        n = utf8_sequence((const unsigned char *)v.p + i, v.size - i);
        if (!n)
            return false;
    }
    return true;
}

void str_random(void *p, size_t size)
{
    char *at = p;
    while (size) {
        ssize_t n = getrandom(at, size > 256 ? 256 : size, 0);
        if (n < 0 && errno != EINTR)
            abort();
        if (n > 0) {
            at += n;
            size -= (size_t)n;
        }
    }
}

void str_uuid(char out[UUID_SIZE])
{
    unsigned char b[16];
    str_random(b, sizeof(b));
    char *at = out;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *at++ = '-';
        at += sprintf(at, "%02x", b[i]);
    }
}

bool str_is_uuid(const char *s)
{
    for (int i = 0; i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? s[i] != '-' : hex_digit(s[i]) < 0)
            return false;
    }
    return s[36] == '\0';
}

static char *put_digits(char *at, unsigned n, unsigned width)
{
    for (unsigned i = width; i-- > 0; n /= 10)
        at[i] = (char)('0' + n % 10);
    return at + width;
}

/* The Gregorian calendar in whole numbers: years begin in March, so that the leap day is their
 * last; 400 years are one era of 146097 days. Written a few times per record, so not by strftime.
 */
static void civil_date(int64_t days, unsigned *year, unsigned *month, unsigned *day)
{
    uint64_t since = (uint64_t)(days + 719468); /* since 1 March of the year 0 */
    uint64_t era = since / 146097, of_era = since % 146097;
    uint64_t y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    uint64_t of_year = of_era - (365 * y + y / 4 - y / 100);
    uint64_t m = (5 * of_year + 2) / 153;
    *day = (unsigned)(of_year - (153 * m + 2) / 5 + 1);
    *month = (unsigned)(m < 10 ? m + 3 : m - 9);
    *year = (unsigned)(y + era * 400 + (*month <= 2));
}

#define YEAR_0     (-62162035200) /* 1 March of the year 0 */
#define YEAR_10000 253402300800

void str_datetime(int64_t s, char out[DATETIME_SIZE])
{
    if (s < YEAR_0 || s >= YEAR_10000)
        s = 0;
    int64_t days = s / 86400, left = s % 86400;
    if (left < 0) {
        left += 86400;
        days--;
    }
    unsigned year, month, day, of_day = (unsigned)left;
    civil_date(days, &year, &month, &day);
    char *at = put_digits(put_digits(put_digits(out, year, 4), month, 2), day, 2);
    *at++ = 'T';
    at = put_digits(at, of_day / 3600, 2);
    *at++ = ':';
    at = put_digits(at, of_day / 60 % 60, 2);
    *at++ = ':';
    at = put_digits(at, of_day % 60, 2);
    memcpy(at, "Z", 2);
}

/* Takes exactly n digits off the front. */
static bool digits(struct view *v, size_t n, int *ret)
{
    uint64_t u;
    if (v->size < n || str_u64((struct view){v->p, n}, 0, 9999, &u) < 0)
        return false;
    *ret = (int)u;
    *v = view_cut(*v, n);
    return true;
}

static bool skip(struct view *v, char c)
{
    if (!v->size || v->p[0] != c)
        return false;
    *v = view_cut(*v, 1);
    return true;
}

/* "Z", "+01:00", "-0130", "+01" or nothing: seconds east of UTC. */
static bool zone(struct view *v, int *ret)
{
    *ret = 0;
    if (!v->size || skip(v, 'Z'))
        return true;
    int sign = v->p[0] == '-' ? -1 : 1, h, m = 0;
    if ((!skip(v, '+') && !skip(v, '-')) || !digits(v, 2, &h))
        return false;
    skip(v, ':');
    if (v->size && !digits(v, 2, &m))
        return false;
    *ret = sign * (h * 3600 + m * 60);
    return h < 24 && m < 60;
}

static bool clock_time(struct view *v, struct tm *tm)
{
    if (!digits(v, 2, &tm->tm_hour))
        return false;
    skip(v, ':');
    if (!digits(v, 2, &tm->tm_min))
        return false;
    skip(v, ':');
    if (!digits(v, 2, &tm->tm_sec))
        return false;
    if (skip(v, '.'))
        while (v->size && isdigit((unsigned char)v->p[0]))
            *v = view_cut(*v, 1);
    return tm->tm_hour < 24 && tm->tm_min < 60 && tm->tm_sec <= 60;
}

int str_parse_datetime(struct view v, int64_t *ret)
{
    struct tm tm = {0};
    int year, offset = 0;
    if (!digits(&v, 4, &year))
        return -EINVAL;
    skip(&v, '-');
    if (!digits(&v, 2, &tm.tm_mon))
        return -EINVAL;
    skip(&v, '-');
    if (!digits(&v, 2, &tm.tm_mday))
        return -EINVAL;
    if (v.size && ((!skip(&v, 'T') && !skip(&v, ' ')) || !clock_time(&v, &tm)))
        return -EINVAL;
    if (!zone(&v, &offset) || v.size || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 ||
        tm.tm_mday > 31)
        return -EINVAL;
    tm.tm_year = year - 1900;
    tm.tm_mon--;
    *ret = (int64_t)timegm(&tm) - offset;
    return 0;
}
