/* stream_io.c: see stream_io.h. Stream threads. */
#include "handler/stream_io.h"

static struct err *begin_upload(void *arg)
{
    return transfer_accept(arg);
}

static struct err *read_upload(void *arg, void *p, size_t size, size_t *ret_size)
{
    return transfer_read(arg, p, size, ret_size);
}

struct portable_io transfer_upload(struct transfer *x)
{
    return (struct portable_io){.arg = x, .begin = begin_upload, .read = read_upload};
}
