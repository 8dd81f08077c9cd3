/* kernel_log.c: see kernel_log.h. Called on operation threads. */
#include "host/kernel_log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/klog.h>

#include "base/fd.h"
#include "base/str.h"
#include "host/host_impl.h"
#include "host/machine.h"
#include "host/priv.h"

/* Of klogctl; the header has no names for them. */
#define READ_ALL    3
#define SIZE_BUFFER 10
#define LOG_MAX     (2 << 20)

/* What is no text becomes a question mark. */
static void clean(char *text)
{
    for (unsigned char *p = (unsigned char *)text; *p; p++)
        if ((*p < ' ' && *p != '\n' && *p != '\t') || *p > '~')
            *p = '?';
}

static int read_ourselves(char **ret)
{
    int size = klogctl(SIZE_BUFFER, NULL, 0);
    if (size < 0)
        return -errno;
    size = size < LOG_MAX ? size : LOG_MAX;
    _cleanup_(freep) char *text = mem_zalloc((size_t)size + 1, 1);
    if (klogctl(READ_ALL, text, size) < 0)
        return -errno;
    *ret = steal(&text);
    return 0;
}

static struct err *read_log(struct host *h, char **ret)
{
    int r = read_ourselves(ret);
    if (r == 0)
        return NULL;
    if (!h->privd || !*h->privd)
        return err_errno(-r, "the kernel's log may be read by root only, and no cairn-privd runs");
    return priv_kernel_log(h->privd, false, ret);
}

/* ---- the view of a development run ---- */

static char *mark_path(const struct host *h)
{
    return mem_printf("%s/kernel-log-cleared", h->machine_dir);
}

static const char *last_line(const char *text)
{
    size_t end = strlen(text);
    while (end && text[end - 1] == '\n')
        end--;
    size_t from = end;
    while (from && text[from - 1] != '\n')
        from--;
    return text + from;
}

/* The mark is the last line that was cleared; what stands behind it is new. */
static struct err *clear_view(struct host *h, const char *text)
{
    _cleanup_(freep) char *path = mark_path(h);
    const char *line = last_line(text);
    int r = fd_mkdirs(h->machine_dir, 0755);
    if (r == 0)
        r = fd_replace_file(path, line, strlen(line), 0644);
    return r < 0 ? err_errno(-r, "cannot write '%s'", path) : NULL;
}

static const char *behind_mark(const struct host *h, const char *text)
{
    _cleanup_(freep) char *path = mark_path(h);
    _cleanup_(buf_done) struct buf mark;
    buf_init(&mark, 65536);
    if (fd_read_file(path, 65536, &mark) < 0)
        return text;
    const char *at = mark.size ? strstr(text, buf_str(&mark)) : NULL;
    return at ? at + mark.size : text;
}

struct err *host_kernel_log(struct host *h, bool clear, char **ret)
{
    _cleanup_(freep) char *text = NULL;
    if (clear && machine_is_real(h) && h->privd && *h->privd)
        TRY(priv_kernel_log(h->privd, true, &text));
    else if (clear && machine_is_real(h))
        return err_internal("the kernel's log is cleared by cairn-privd, and none runs");
    else
        TRY(read_log(h, &text));
    clean(text);
    *ret = mem_strdup(machine_is_real(h) ? text : behind_mark(h, text));
    return clear && !machine_is_real(h) ? clear_view(h, text) : NULL;
}
