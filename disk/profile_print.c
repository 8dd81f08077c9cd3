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

static double best_of(const struct profile *p)
{
    double best = 0;
    for (unsigned i = 0; i < p->n; i++)
        if (profile_mbs(&p->point[i]) > best)
            best = profile_mbs(&p->point[i]);
    return best;
}

uint32_t profile_split(const struct profile *p)
{
    double enough = best_of(p) * NEAR;
    for (unsigned i = 0; i < p->n; i++)
        if (profile_mbs(&p->point[i]) >= enough)
            return p->point[i].block == PROFILE_OUTSTANDING ? 0 : p->point[i].block;
    return 0;
}

static int print_json(const struct profile *p, const char *path)
{
    json_t *points = json_array();
    for (unsigned i = 0; i < p->n; i++) {
        const struct profile_point *x = &p->point[i];
        (void)json_array_append_new(
            points, json_pack("{s:i, s:i, s:f, s:f}", "block", (int)x->block, "depth",
                              (int)x->depth, "mb_per_s", profile_mbs(x), "ops_per_s",
                              x->seconds > 0 ? (double)x->ops / x->seconds : 0.0));
    }
    return report_print(json_pack("{s:s, s:b, s:i, s:i, s:o}", "path", path, "direct", p->is_direct,
                                  "outstanding", (int)PROFILE_OUTSTANDING, "split",
                                  (int)profile_split(p), "points", points));
}

int profile_print(const struct profile *p, const char *path, bool json)
{
    if (json)
        return print_json(p, path);
    double best = best_of(p);
    printf("%10s %6s %10s %10s\n", "block", "depth", "MB/s", "requests/s");
    for (unsigned i = 0; i < p->n; i++) {
        const struct profile_point *x = &p->point[i];
        int width = (int)(profile_mbs(x) / best * PLOT_WIDTH + 0.5);
        printf("%10u %6u %10.1f %10.0f %.*s\n", x->block, x->depth, profile_mbs(x),
               (double)x->ops / x->seconds, width, "########################################");
    }
    uint32_t split = profile_split(p);
    if (split)
        printf("large requests are best split into %u bytes\n", split);
    else
        printf("large requests are best left whole\n");
    if (!p->is_direct)
        printf("there is no O_DIRECT here: this was the page cache\n");
    return fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
