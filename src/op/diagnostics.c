/* diagnostics.c: what the daemon says about itself: memory, state, threads. Operation threads. */
#include <dirent.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/resident.h"
#include "gen/msg.h"
#include "op/world.h"

#define STAT_MAX 4096

static void put_number(struct val *map, const char *key, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRIu64, value);
    val_put_str(map, key, text);
}

/* Memory that is free goes back to the machine. */
struct err *msg_Diagnostics_gc_compact(struct op *op, const struct args_Diagnostics_gc_compact *a,
                                       struct val **ret)
{
    TRY(need_own_host(op, a->host));
    (void)malloc_trim(0);
    return NULL;
}

struct err *msg_Diagnostics_gc_stats(struct op *op, const struct args_Diagnostics_gc_stats *a,
                                     struct val **ret)
{
    TRY(need_own_host(op, a->host));
    struct mallinfo2 m = mallinfo2();
    *ret = val_map();
    put_number(*ret, "heap_bytes", m.arena);
    put_number(*ret, "mapped_bytes", m.hblkhd);
    put_number(*ret, "in_use_bytes", m.uordblks);
    put_number(*ret, "free_bytes", m.fordblks);
    put_number(*ret, "free_chunks", m.ordblks);
    put_number(*ret, "releasable_bytes", m.keepcost);
    put_number(*ret, "resident_bytes", resident_bytes());
    return NULL;
}

/* How many rows there are, and how many changes there were. */
struct err *msg_Diagnostics_db_stats(struct op *op, const struct args_Diagnostics_db_stats *a,
                                     struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    struct token at = snap_token(s);
    uint64_t rows = 0;
    *ret = val_map();
    for (unsigned cls = 0; cls < snap_n_classes(s); cls++) {
        size_t n = snap_count(s, (int)cls);
        _cleanup_(freep) char *key = mem_printf("rows:%s", snap_class(s, (int)cls)->name);
        rows += n;
        if (n && !(snap_class(s, (int)cls)->flags & CLASS_INTERNAL))
            put_number(*ret, key, n);
    }
    put_number(*ret, "rows", rows);
    put_number(*ret, "generation", at.gen);
    put_number(*ret, "volatile_changes", at.vol);
    put_number(*ret, "epoch", db_epoch(op->db));
    return NULL;
}

struct err *msg_Diagnostics_network_stats(struct op *op,
                                          const struct args_Diagnostics_network_stats *a,
                                          struct val **ret)
{
    const struct ops_config *c = &ops_of(op)->cfg;
    TRY(need_own_host(op, a->host));
    *ret = val_set();
    if (c->network_stats)
        c->network_stats(c->restart_arg, val_map_str(a->params, "method", ""),
                         val_map_str(a->params, "uri", ""), *ret);
    return NULL;
}

/* ---- threads ---- */

static void put_thread(struct buf *out, const char *id)
{
    _cleanup_(freep) char *path = mem_printf("/proc/self/task/%s/stat", id);
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, STAT_MAX);
    if (fd_read_file(path, STAT_MAX, &text) < 0)
        return; /* it has ended */
    const char *name = strchr(buf_str(&text), '('), *end = strrchr(buf_str(&text), ')');
    unsigned long user = 0, system = 0;
    char state = '?';
    if (!name || !end ||
        sscanf(end, ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &state, &user,
               &system) != 3)
        return;
    buf_printf(out, "thread=%s name=%.*s state=%c cpu_ms=%lu\n", id, (int)(end - name - 1),
               name + 1, state, (user + system) * 1000 / (unsigned long)sysconf(_SC_CLK_TCK));
}

struct err *msg_host_get_thread_diagnostics(struct op *op,
                                            const struct args_host_get_thread_diagnostics *a,
                                            struct val **ret)
{
    TRY(need_own_host(op, a->host));
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, 1 << 20);
    DIR *folder = opendir("/proc/self/task");
    for (const struct dirent *d; folder && (d = readdir(folder));)
        if (d->d_name[0] != '.')
            put_thread(&out, d->d_name);
    if (folder)
        closedir(folder);
    *ret = val_str(buf_str(&out));
    return NULL;
}
