/*
 * Any file, as a qcow2 image: it is refused, or it can be read and written, closed and opened
 * again. Tried as it is, and with its sectors spread over clusters of 64 KiB, so that a short input
 * has tables of all sorts.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "codec/qcow2.h"
#include "disk/create.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/use_chain.h"

#define SECTOR  512u
#define CLUSTER 65536u

static void try_chain(const struct chain_item *items, unsigned n, bool readonly)
{
    struct image_why why = {""};
    struct chain *chain;
    if (chain_open(items, n, readonly, &chain, &why) < 0)
        return;
    use_chain(chain);
    (void)chain_close(chain, &why);
}

static void try_file(int fd)
{
    char path[64];
    struct image_info info;
    enum image_format format = IMAGE_QCOW2;
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    struct chain_item item = {path, format};
    (void)image_info(path, &format, &info, NULL);
    try_chain(&item, 1, true);
    try_chain(&item, 1, false);
    try_chain(&item, 1, true);
    struct image_change change = {.hidden = 1, .parent = NULL};
    (void)image_modify(path, format, &change, NULL);
}

static int memory_file(const uint8_t *data, size_t size, size_t part, size_t stride)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    for (size_t at = 0; fd >= 0 && at < size; at += part) {
        size_t n = size - at < part ? size - at : part;
        if (pwrite(fd, data + at, n, (off_t)(at / part * stride)) != (ssize_t)n)
            abort();
    }
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qcow2_header h;
    const char *why = "";
    (void)qcow2_parse(data, size, &h, &why);
    if (size == 0 || size > 64 * SECTOR)
        return 0;
    int fd = memory_file(data, size, size, size);
    try_file(fd);
    (void)close(fd);
    fd = memory_file(data, size, SECTOR, CLUSTER);
    try_file(fd);
    (void)close(fd);
    return 0;
}
