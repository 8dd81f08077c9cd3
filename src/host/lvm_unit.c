/*
 * lvm_unit.c: bytes of units of servers; see lvm_unit.h. What is said at start is not changed
 * afterwards.
 */
#include "host/lvm_unit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/str.h"
#include "codec/json.h"
#include "host/diskctl.h"
#include "loop/child.h"

#define ANSWER_MAX (16U << 20)
#define PATIENCE   (50 * USEC_PER_SEC)
#define PART       (2U << 20) /* of what is read at once */

static char program[PATH_MAX], folder[PATH_MAX];

void lvm_unit_start(const char *diskd, const char *run_dir)
{
    (void)snprintf(program, sizeof(program), "%s", diskd);
    (void)snprintf(folder, sizeof(folder), "%s", run_dir);
}

const char *lvm_unit_run_dir(void)
{
    return folder;
}

bool lvm_unit_is(const char *device)
{
    return device[0] != '/' && strstr(device, "://");
}

static struct err *ask(const char *verb, const char *url, const char *more, struct val **ret)
{
    _cleanup_(freep) char *locks = mem_printf("--locks=%s/disk-locks", folder);
    const char *argv[] = {program, locks, "at", verb, url, more, NULL};
    struct child_spec spec = {.argv = argv};
    struct child_exit how;
    _cleanup_(buf_done) struct buf out;
    _cleanup_(val_unrefp) struct val *answer = NULL;
    buf_init(&out, ANSWER_MAX);
    TRY(child_run(&spec, PATIENCE, &out, NULL, &how));
    if (json_parse((struct view){out.data, out.size}, &answer) < 0 || val_kind(answer) != VAL_MAP)
        return err_internal("cairn-diskd printed no JSON object");
    if (how.code != 0)
        return disk_answer_error(answer);
    if (ret)
        *ret = steal(&answer);
    return NULL;
}

/* ---- reading ---- */

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int read_part(const char *url, uint64_t at, uint8_t *p, size_t size, uint64_t *ret_size)
{
    _cleanup_(val_unrefp) struct val *answer = NULL;
    _cleanup_(freep) char *what = mem_printf("%llu+%zu", (unsigned long long)at, size);
    _cleanup_(err_freep) struct err *e = ask("read", url, what, &answer);
    if (e)
        return err_get_errno(e) ? -err_get_errno(e) : -EIO;
    const char *hex = val_map_str(answer, "hex", "");
    const struct val *whole = val_map_get(answer, "size");
    size_t n = strlen(hex) / 2;
    memset(p, 0, size);
    for (size_t i = 0; i < n && i < size; i++) {
        int high = digit(hex[2 * i]), low = digit(hex[2 * i + 1]);
        if (high < 0 || low < 0)
            return -EIO;
        p[i] = (uint8_t)(high << 4 | low);
    }
    if (ret_size)
        *ret_size = whole && val_kind(whole) == VAL_INT ? (uint64_t)val_get_int(whole) : 0;
    return 0;
}

int lvm_unit_read(const char *url, uint64_t at, void *p, size_t size)
{
    int r = 0;
    for (size_t done = 0; r == 0 && done < size;) {
        size_t n = size - done < PART ? size - done : PART;
        r = read_part(url, at + done, (uint8_t *)p + done, n, NULL);
        done += n;
    }
    return r;
}

struct err *lvm_unit_size(const char *url, uint64_t *ret)
{
    uint8_t none;
    int r = read_part(url, 0, &none, 0, ret);
    return r < 0 ? err_errno(-r, "the unit cannot be read") : NULL;
}

/* ---- changing ---- */

static void put_step(struct buf *b, const struct unit_step *s)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = s->bytes;
    buf_printf(b, "{\"at\": %llu, \"hex\": \"", (unsigned long long)s->at);
    for (size_t i = 0; i < s->size; i++) {
        buf_putc(b, digits[p[i] >> 4]);
        buf_putc(b, digits[p[i] & 15]);
    }
    buf_puts(b, "\"}");
}

static void put_plan(struct buf *b, const struct unit_step *expect, const struct unit_step *steps,
                     size_t n)
{
    buf_puts(b, "{\"expect\": ");
    put_step(b, expect);
    buf_puts(b, ", \"steps\": [");
    for (size_t i = 0; i < n; i++) {
        buf_puts(b, i ? ", " : "");
        put_step(b, &steps[i]);
    }
    buf_puts(b, "]}\n");
}

static struct err *write_plan(const char *path, int fd, const struct unit_step *expect,
                              const struct unit_step *steps, size_t n)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 4 * ANSWER_MAX);
    put_plan(&b, expect, steps, n);
    int r = buf_ok(&b) ? fd_write_all(fd, b.data, b.size) : -EFBIG;
    return r < 0 ? err_errno(-r, "'%s' cannot be written", path) : NULL;
}

struct err *lvm_unit_commit(const char *url, const struct unit_step *expect,
                            const struct unit_step *steps, size_t n)
{
    _cleanup_(freep) char *path = mem_printf("%s/plan.XXXXXX", folder);
    _cleanup_(fd_closep) int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return err_errno(errno, "'%s' cannot be made", path);
    struct err *e = write_plan(path, fd, expect, steps, n);
    if (!e)
        e = ask("commit", url, path, NULL);
    (void)unlink(path);
    return e;
}
