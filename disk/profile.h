/*
 * profile.h: `cairn-diskd profile PATH`: how a device likes large requests: whole, or as many small
 * ones at the same time.
 *
 * Random O_DIRECT reads with the same number of bytes outstanding throughout, as one request of
 * PROFILE_OUTSTANDING bytes, two of half of that, and so on down to 512 bytes. Then the other way
 * round: requests of the best size, one at a time, two, four …, up to PROFILE_MOST bytes: how much
 * has to be in flight for the device to be busy. Points take turns; of each the median of its
 * rounds counts. Blocks; one-shot.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define PROFILE_OUTSTANDING   (4u << 20)
#define PROFILE_MIN_BLOCK     512u
#define PROFILE_POINTS        14u /* 4 MiB … 512 bytes */
#define PROFILE_POINT_SECONDS 0.5
#define PROFILE_MOST          (32u << 20) /* bytes in flight */
#define PROFILE_DEPTHS        11u         /* 1 … 1024 */

struct profile_point {
    uint32_t block, depth;
    uint64_t ops;
    double seconds;
};

struct profile {
    bool is_direct; /* false: the file system has no O_DIRECT; the page cache was measured */
    unsigned n;
    struct profile_point point[PROFILE_POINTS]; /* largest block first */
    unsigned n_depths;
    struct profile_point depth[PROFILE_DEPTHS]; /* smallest first */
};

/* A file or device that has data, or a folder, where a file is made for the while. `seconds` for
 * each point. 0 or -errno; *ret_what names the step that failed. */
int profile_run(const char *path, double seconds, struct profile *ret, const char **ret_what);

double profile_mbs(const struct profile_point *p);
/* Bytes to split large requests into: the largest block within 5 % of the best; 0: leave them
 * whole. */
uint32_t profile_split(const struct profile *p);
/* Bytes in flight that all disks on the device should share: twice what is within 5 % of the best,
 * so that it never waits for us, and not less than PROFILE_OUTSTANDING. */
uint64_t profile_budget(const struct profile *p);
/* Table and plot, or JSON, on stdout; 0 or an exit code. */
int profile_print(const struct profile *p, const char *path, bool json);
