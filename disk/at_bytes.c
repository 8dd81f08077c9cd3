/*
 * at_bytes.c: `cairn-diskd at read URL AT+SIZE` and `at commit URL FILE`: a few bytes of a unit
 * that is a block device, and changes of them that happen or do not. Called by at.c.
 *
 *     {"expect": {"at": 4096, "hex": "…"}, "steps": [{"at": 16384, "hex": "…"}, …]}
 *
 * Steps are written one after the other, each durable before the next; so the last one of 512 bytes
 * decides. When what is expected is not there any more, nothing is written: -ESTALE. A lock makes
 * those who ask this host at the same time wait for each other, whoever started them.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "disk/at.h"
#include "disk/backend/file.h"
#include "disk/backend/remote.h"

#define MOST   (4u << 20)
#define SECTOR 512u

static const char digits[] = "0123456789abcdef";

static void json_drop(json_t **j)
{
    json_decref(*j);
}

static json_t *hex_of(const uint8_t *p, size_t size)
{
    _cleanup_(freep) char *text = mem_new_n(char, 2 * size + 1);
    for (size_t i = 0; i < size; i++) {
        text[2 * i] = digits[p[i] >> 4];
        text[2 * i + 1] = digits[p[i] & 15];
    }
    return json_stringn(text, 2 * size);
}

int at_read(const char *url, const char *what, json_t **ret)
{
    _cleanup_(file_closep) struct file *f = NULL;
    struct view rest = view_of(what), first;
    struct file_stat st;
    uint64_t at, size;
    if (!view_split(&rest, '+', &first) || str_u64(first, 0, INT64_MAX / 2, &at) < 0 ||
        str_u64(rest, 0, MOST, &size) < 0)
        return -EINVAL;
    int r = file_open(url, FILE_READ, &f);
    if (r == 0)
        r = file_stat(f, &st);
    if (r < 0)
        return r;
    if (at > st.size)
        return -ENODATA;
    if (size > st.size - at)
        size = st.size - at;
    _cleanup_(freep) uint8_t *room = mem_zalloc(size + 1, 1);
    r = size ? file_pread(f, room, (size_t)size, at) : 0;
    if (r == 0)
        *ret =
            json_pack("{s:I, s:o}", "size", (json_int_t)st.size, "hex", hex_of(room, (size_t)size));
    return r;
}

/* ---- commit ---- */

struct step {
    uint64_t at;
    size_t size;
    uint8_t *bytes;
};

static void step_done(struct step *s)
{
    free(s->bytes);
}

static int read_step(const json_t *j, struct step *ret)
{
    const char *hex = json_string_value(json_object_get(j, "hex"));
    json_int_t at = json_integer_value(json_object_get(j, "at"));
    size_t n = hex ? strlen(hex) : 0;
    *ret = (struct step){.at = (uint64_t)at, .size = n / 2};
    if (at < 0 || !n || n % (2 * SECTOR) || n / 2 > MOST || at % SECTOR)
        return -EINVAL;
    ret->bytes = mem_new_n(uint8_t, ret->size);
    for (size_t i = 0; i < n; i++) {
        const char *d = strchr(digits, hex[i]);
        if (!d)
            return -EINVAL;
        ret->bytes[i / 2] = (uint8_t)(ret->bytes[i / 2] << 4 | (d - digits));
    }
    return 0;
}

static int check_expected(struct file *f, const json_t *j)
{
    _cleanup_(step_done) struct step s = {0};
    int r = read_step(j, &s);
    if (r < 0)
        return r;
    _cleanup_(freep) uint8_t *now = mem_zalloc(s.size, 1);
    r = file_pread(f, now, s.size, s.at);
    return r < 0 ? r : memcmp(now, s.bytes, s.size) == 0 ? 0 : -ESTALE;
}

static int do_step(struct file *f, const json_t *j)
{
    _cleanup_(step_done) struct step s = {0};
    int r = read_step(j, &s);
    if (r == 0)
        r = file_pwrite(f, s.bytes, s.size, s.at);
    return r < 0 ? r : file_sync(f);
}

/* All steps are looked at before the first one is done. */
static int check_steps(const json_t *steps)
{
    size_t i;
    const json_t *j;
    int r = json_array_size(steps) > 0 ? 0 : -EINVAL;
    json_array_foreach(steps, i, j)
    {
        _cleanup_(step_done) struct step s = {0};
        r = r < 0 ? r : read_step(j, &s);
    }
    return r;
}

int at_commit(const char *url, const char *local)
{
    json_error_t why;
    _cleanup_(json_drop) json_t *plan = json_load_file(local, 0, &why);
    const json_t *steps = json_object_get(plan, "steps"), *step;
    _cleanup_(freep) char *name = mem_printf("%s#metadata", url);
    _cleanup_(file_closep) struct file *lock = NULL;
    _cleanup_(file_closep) struct file *f = NULL;
    size_t i;
    int r = check_steps(steps);
    if (r == 0)
        r = remote_lock(name, FILE_LOCK_WRITER, &lock);
    if (r == 0)
        r = file_open(url, FILE_WRITE, &f);
    if (r == 0)
        r = check_expected(f, json_object_get(plan, "expect"));
    json_array_foreach(steps, i, step) r = r < 0 ? r : do_step(f, step);
    return r;
}
