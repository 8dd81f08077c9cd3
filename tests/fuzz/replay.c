/*
 * replay.c: the main of a fuzz target without libFuzzer: runs it over every file of a folder, over
 * each file's beginnings, and over copies with single bytes changed. A crash is the failure.
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/fd.h"
#include "tests/fuzz/fuzz.h"

#define FILE_MAX   (1u << 20)
#define VARIED_MAX 2048 /* larger files are run as they are */

/* On a copy of exactly that size, so that a sanitizer sees a step too far. */
static void run(const uint8_t *data, size_t size)
{
    _cleanup_(freep) uint8_t *copy = mem_dup(data, size ? size : 1);
    LLVMFuzzerTestOneInput(copy, size);
}

static void vary(uint8_t *data, size_t size)
{
    static const uint8_t changes[] = {0x00, 0xff, 0x80, '\n', '<', '"', '9'};
    size_t stride = size / 128 + 1;
    for (size_t n = 0; n < size; n += stride) {
        run(data, n);
        uint8_t old = data[n];
        data[n] = changes[n % sizeof(changes)];
        run(data, size);
        data[n] = old;
    }
}

static int run_file(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, FILE_MAX);
    int r = fd_read_file(path, FILE_MAX, &b);
    if (r < 0) {
        fprintf(stderr, "replay: cannot read '%s'\n", path);
        return r;
    }
    uint8_t *data = (uint8_t *)(b.data ? b.data : "");
    run(data, b.size);
    if (b.size <= VARIED_MAX)
        vary(data, b.size);
    return 0;
}

int main(int argc, char **argv)
{
    DIR *d = argc == 2 ? opendir(argv[1]) : NULL;
    unsigned n = 0;
    int r = 0;
    if (!d) {
        fprintf(stderr, "usage: replay FOLDER\n");
        return 2;
    }
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.') {
            r |= run_file(argv[1], e->d_name);
            n++;
        }
    closedir(d);
    printf("%u inputs\n", n);
    return r || !n; /* an empty corpus proves nothing */
}
