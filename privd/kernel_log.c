/* kernel_log.c: what the kernel has to say; cleared on demand. Called in a worker. */
#include <errno.h>
#include <sys/klog.h>

#include "privd/verbs.h"

/* Of klogctl; the header has no names for them. */
#define READ_ALL    3
#define READ_CLEAR  4
#define SIZE_BUFFER 10
#define LOG_MAX     (2 << 20) /* an answer holds 4 MiB */

/* The answer is JSON: what is no plain text becomes a question mark. */
static void clean(char *text)
{
    for (unsigned char *p = (unsigned char *)text; *p; p++)
        if ((*p < ' ' && *p != '\n' && *p != '\t') || *p > '~')
            *p = '?';
}

struct err *verb_kernel_log(const struct place *p, const struct request *r, struct val *answer,
                            int *ret_fd)
{
    (void)p, (void)ret_fd;
    bool wipe = request_bool(r, "clear");
    int size = klogctl(SIZE_BUFFER, NULL, 0);
    if (size < 0)
        return err_errno(errno, "the kernel does not show its log");
    size = size < LOG_MAX ? size : LOG_MAX;
    _cleanup_(freep) char *text = mem_zalloc((size_t)size + 1, 1);
    if (klogctl(wipe ? READ_CLEAR : READ_ALL, text, size) < 0)
        return err_errno(errno, "the kernel does not show its log");
    clean(text);
    val_put_str(answer, "text", text);
    return NULL;
}
