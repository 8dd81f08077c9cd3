/*
 * sr_tune.c: see sr_tune.h. Called by operations that make boot records, and by diskctl.c.
 */
#include "host/sr_tune.h"

#include "base/str.h"
#include "host/host_impl.h"

#define SPLIT_UNIT 4096u
#define SPLIT_MAX  (32u << 20)

static uint64_t bytes_of(const struct val *other_config, const char *key, uint64_t max,
                         uint64_t otherwise)
{
    uint64_t n;
    const char *text = val_map_str(other_config, key, "");
    return str_u64(view_of(text), 0, max, &n) < 0 ? otherwise : n;
}

void sr_tune_image(const struct host *h, const char *uuid, const struct val *other_config,
                   struct image *image)
{
    uint64_t split = bytes_of(other_config, "io-split", SPLIT_MAX, 0);
    image->split = split % SPLIT_UNIT ? 0 : split;
    image->budget_bytes = bytes_of(other_config, "io-budget", INT64_MAX, SR_TUNE_BUDGET);
    free(image->budget_path);
    image->budget_path = mem_printf("%s/disk-locks/%s.budget", h->run_dir, uuid);
}

void sr_tune_request(const struct image *image, struct val *activate)
{
    if (image->uncached)
        val_put_bool(activate, "read_cache", false);
    if (image->split)
        val_put_int(activate, "split", (int64_t)image->split);
    if (!image->budget_bytes || !image->budget_path || !image->budget_path[0])
        return;
    struct val *budget = val_map();
    val_put_str(budget, "path", image->budget_path);
    val_put_int(budget, "bytes", (int64_t)image->budget_bytes);
    val_put(activate, "budget", budget);
}
