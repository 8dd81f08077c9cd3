/*
 * backend.c: what all backends share: going on after a short transfer, and iovec arithmetic. Pure,
 * any thread.
 */
#include "disk/backend/backend.h"

#include <errno.h>
#include <string.h>

int io_advance(struct io *io, uint64_t res)
{
    if (res == 0 && io->size) {
        if (io->op == IO_WRITE)
            return -EIO;
        iov_zero(io->iov, io->n_iov, 0, io->size);
        io->size = 0;
        return 1;
    }
    if (res > io->size)
        res = io->size;
    io->size -= res;
    io->offset += res;
    while (res) {
        size_t n = io->iov->iov_len < res ? io->iov->iov_len : (size_t)res;
        io->iov->iov_base = (char *)io->iov->iov_base + n;
        io->iov->iov_len -= n;
        res -= n;
        if (io->iov->iov_len == 0) {
            io->iov++;
            io->n_iov--;
        }
    }
    return io->size == 0;
}

void iov_zero(const struct iovec *iov, int n, uint64_t skip, uint64_t size)
{
    for (int i = 0; i < n && size; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        uint64_t part = iov[i].iov_len - skip < size ? iov[i].iov_len - skip : size;
        memset((char *)iov[i].iov_base + skip, 0, (size_t)part);
        size -= part;
        skip = 0;
    }
}

int iov_slice(const struct iovec *iov, int n, uint64_t skip, uint64_t size, struct iovec *out)
{
    int k = 0;
    for (int i = 0; i < n && size; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        uint64_t part = iov[i].iov_len - skip < size ? iov[i].iov_len - skip : size;
        out[k++] = (struct iovec){(char *)iov[i].iov_base + skip, (size_t)part};
        size -= part;
        skip = 0;
    }
    return k;
}

void iov_copy_out(const struct iovec *iov, int n, void *p, uint64_t size)
{
    for (int i = 0; i < n && size; i++) {
        size_t part = iov[i].iov_len < size ? iov[i].iov_len : (size_t)size;
        memcpy(p, iov[i].iov_base, part);
        p = (char *)p + part;
        size -= part;
    }
}

void iov_copy_in(const struct iovec *iov, int n, const void *p, uint64_t size)
{
    for (int i = 0; i < n && size; i++) {
        size_t part = iov[i].iov_len < size ? iov[i].iov_len : (size_t)size;
        memcpy(iov[i].iov_base, p, part);
        p = (const char *)p + part;
        size -= part;
    }
}

uint64_t iov_size(const struct iovec *iov, int n)
{
    uint64_t size = 0;
    for (int i = 0; i < n; i++)
        size += iov[i].iov_len;
    return size;
}
