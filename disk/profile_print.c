/*
 * profile_print.c: what a profile says. Called by diskd.c; pure but for stdout.
 */
#include "disk/profile.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "disk/report.h"

#define PLOT_WIDTH 40
#define NEAR       0.95

double profile_mbs(const struct profile_point *p)
{
    return p->seconds > 0 ? (double)p->ops * p->block / p->seconds / 1e6 : 0;
}

static double best_of(const struct profile_point *points, unsigned n)
{
    double best = 0;
    for (unsigned i = 0; i < n; i++)
        if (profile_mbs(&points[i]) > best)
            best = profile_mbs(&points[i]);
    return best;
}

uint32_t profile_split(const struct profile *p)
{
    double enough = best_of(p->point, p->n) * NEAR;
    for (unsigned i = 0; i < p->n; i++)
        if (profile_mbs(&p->point[i]) >= enough)
            return p->point[i].block == PROFILE_OUTSTANDING ? 0 : p->point[i].block;
    return 0;
}

uint64_t profile_budget(const struct profile *p)
{
    double enough = best_of(p->depth, p->n_depths) * NEAR;
    for (unsigned i = 0; i < p->n_depths; i++) {
        const struct profile_point *x = &p->depth[i];
        uint64_t bytes = 2ull * x->block * x->depth;
        if (profile_mbs(x) >= enough)
            return bytes > PROFILE_OUTSTANDING ? bytes : PROFILE_OUTSTANDING;
    }
    return PROFILE_OUTSTANDING;
}

static json_t *points_of(const struct profile_point *points, unsigned n)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < n; i++) {
        const struct profile_point *x = &points[i];
        (void)json_array_append_new(
            list, json_pack("{s:i, s:i, s:f, s:f}", "block", (int)x->block, "depth", (int)x->depth,
                            "mb_per_s", profile_mbs(x), "ops_per_s",
                            x->seconds > 0 ? (double)x->ops / x->seconds : 0.0));
    }
    return list;
}

static int print_json(const struct profile *p, const char *path)
{
    return report_print(json_pack("{s:s, s:b, s:i, s:i, s:I, s:o, s:o}", "path", path, "direct",
                                  p->is_direct, "outstanding", (int)PROFILE_OUTSTANDING, "split",
                                  (int)profile_split(p), "budget", (json_int_t)profile_budget(p),
                                  "points", points_of(p->point, p->n), "depths",
                                  points_of(p->depth, p->n_depths)));
}

static void print_table(const struct profile_point *points, unsigned n)
{
    double best = best_of(points, n);
    printf("%10s %6s %10s %10s\n", "block", "depth", "MB/s", "requests/s");
    for (unsigned i = 0; i < n; i++) {
        const struct profile_point *x = &points[i];
        int width = (int)(profile_mbs(x) / best * PLOT_WIDTH + 0.5);
        printf("%10u %6u %10.1f %10.0f %.*s\n", x->block, x->depth, profile_mbs(x),
               (double)x->ops / x->seconds, width, "########################################");
    }
}

int profile_print(const struct profile *p, const char *path, bool json)
{
    if (json)
        return print_json(p, path);
    print_table(p->point, p->n);
    print_table(p->depth, p->n_depths);
    uint32_t split = profile_split(p);
    if (split)
        printf("large requests are best split into %u bytes\n", split);
    else
        printf("large requests are best left whole\n");
    printf("%llu bytes in flight keep it busy\n", (unsigned long long)profile_budget(p));
    if (!p->is_direct)
        printf("there is no O_DIRECT here: this was the page cache\n");
    printf("other-config:io-split=%u other-config:io-budget=%llu\n", split,
           (unsigned long long)profile_budget(p));
    return fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
