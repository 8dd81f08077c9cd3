/*
 * qemu_live.c: virtual CPUs, memory and buttons of a guest that runs.
 *
 * Part of the QEMU back end, called on operation threads. CPUs are added in the order of their
 * places, so a guest saved with n of them fits a process that is started with n. Taking CPUs away
 * is not offered: guests do not let go of them reliably.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "host/qemu_vm.h"

#undef LOG_MODULE
#define LOG_MODULE "qemu"

/* --- virtual CPUs --- */

static int64_t place_part(const struct val *cpu, const char *name)
{
    const struct val *props = val_map_get(cpu, "props");
    const struct val *n = props && val_kind(props) == VAL_MAP ? val_map_get(props, name) : NULL;
    return n && val_kind(n) == VAL_INT ? val_get_int(n) : 0;
}

static int64_t place_of(const struct val *cpu)
{
    return place_part(cpu, "socket-id") << 32 | place_part(cpu, "core-id") << 16 |
           place_part(cpu, "thread-id");
}

/* The free place that comes first, NULL if all are taken. */
static const struct val *first_free(const struct val *cpus)
{
    const struct val *best = NULL;
    for (size_t i = 0; val_kind(cpus) == VAL_SET && i < val_count(cpus); i++) {
        const struct val *cpu = val_at(cpus, i);
        if (val_kind(cpu) != VAL_MAP || val_map_get(cpu, "qom-path"))
            continue;
        if (!best || place_of(cpu) < place_of(best))
            best = cpu;
    }
    return best;
}

static struct err *add_cpu(struct guest *g, const struct verb *v)
{
    _cleanup_(val_unrefp) struct val *cpus = NULL;
    TRY(guest_qmp(g, v, "query-hotpluggable-cpus", NULL, &cpus));
    const struct val *place = first_free(cpus);
    const struct val *props = place ? val_map_get(place, "props") : NULL;
    if (!props || val_kind(props) != VAL_MAP)
        return err_internal("guest '%s' has no place for another virtual CPU", g->vm);
    struct val *args = val_copy(props);
    char id[40];
    snprintf(id, sizeof(id), "cpu-%llx", (unsigned long long)place_of(place));
    val_put_str(args, "driver", val_map_str(place, "type", ""));
    val_put_str(args, "id", id);
    return guest_qmp(g, v, "device_add", args, NULL);
}

struct err *qemu_set_cpus(void *hv, const struct verb *v, const char *vm, unsigned cpus)
{
    _cleanup_(guest_unrefp) struct guest *g = NULL;
    TRY(guest_get(hv, vm, &g));
    if (cpus < g->boot->cpus || cpus > g->boot->cpus_max)
        return err_internal("guest '%s' has %u of %u virtual CPUs and cannot get %u", vm,
                            g->boot->cpus, g->boot->cpus_max, cpus);
    struct err *e = NULL;
    while (!e && g->boot->cpus < cpus) {
        e = add_cpu(g, v);
        pthread_mutex_lock(&g->qemu->lock);
        g->boot->cpus += e ? 0 : 1;
        pthread_mutex_unlock(&g->qemu->lock);
    }
    qemu_pin_cpus(g, v);
    return err_first(e, guest_write_record(g));
}

/* --- where they run --- */

static cpu_set_t cpus_of(const char *mask)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    struct view rest = view_of(mask), part;
    for (bool more = true; more;) {
        uint64_t cpu;
        more = view_split(&rest, ',', &part);
        if (str_u64(part, 0, BOOT_CPU_LAST, &cpu) == 0)
            CPU_SET((size_t)cpu, &set);
    }
    return set;
}

static struct err *pin_thread(const struct val *cpu, const cpu_set_t *set)
{
    const struct val *tid = val_kind(cpu) == VAL_MAP ? val_map_get(cpu, "thread-id") : NULL;
    if (!tid || val_kind(tid) != VAL_INT)
        return err_internal("QEMU names no thread of a virtual CPU");
    if (sched_setaffinity((pid_t)val_get_int(tid), sizeof(*set), set) < 0)
        return err_errno(errno, "cannot tie a virtual CPU to CPUs of the host");
    return NULL;
}

/* "" is every CPU. */
static struct err *pin_all(struct guest *g, const struct verb *v, const char *mask)
{
    _cleanup_(val_unrefp) struct val *cpus = NULL;
    cpu_set_t set;
    memset(&set, 0xff, sizeof(set));
    if (*mask)
        set = cpus_of(mask);
    TRY(guest_qmp(g, v, "query-cpus-fast", NULL, &cpus));
    for (size_t i = 0; val_kind(cpus) == VAL_SET && i < val_count(cpus); i++)
        TRY(pin_thread(val_at(cpus, i), &set));
    return NULL;
}

struct err *qemu_set_cpu_mask(void *hv, const struct verb *v, const char *vm, const char *mask)
{
    _cleanup_(guest_unrefp) struct guest *g = NULL;
    TRY(guest_get(hv, vm, &g));
    TRY(pin_all(g, v, mask));
    pthread_mutex_lock(&g->qemu->lock);
    free(g->boot->cpu_mask);
    g->boot->cpu_mask = mem_strdup(mask);
    pthread_mutex_unlock(&g->qemu->lock);
    return guest_write_record(g);
}

void qemu_pin_cpus(struct guest *g, const struct verb *v)
{
    if (!g->boot->cpu_mask[0])
        return;
    _cleanup_(err_freep) struct err *e = pin_all(g, v, g->boot->cpu_mask);
    _cleanup_(freep) char *text = e ? err_text(e) : NULL;
    if (e)
        log_warn("event=not-pinned vm=%s mask=%s text=ignoring error=\"%s\"", g->vm,
                 g->boot->cpu_mask, text);
}

/* --- memory --- */

static struct err *balloon(struct guest *g, const struct verb *v, uint64_t bytes)
{
    struct val *args = val_map();
    val_put_int(args, "value", (int64_t)bytes);
    return guest_qmp(g, v, "balloon", args, NULL);
}

struct err *qemu_set_memory(void *hv, const struct verb *v, const char *vm, uint64_t bytes)
{
    _cleanup_(guest_unrefp) struct guest *g = NULL;
    TRY(guest_get(hv, vm, &g));
    if (!g->boot->balloon || bytes > g->boot->memory_bytes)
        return err_internal("guest '%s' cannot be given %llu bytes", vm, (unsigned long long)bytes);
    TRY(balloon(g, v, bytes));
    pthread_mutex_lock(&g->qemu->lock);
    g->boot->target_bytes = bytes;
    pthread_mutex_unlock(&g->qemu->lock);
    return guest_write_record(g);
}

struct err *qemu_set_target(struct guest *g, const struct verb *v)
{
    bool less = g->boot->balloon && boot_target(g->boot) < g->boot->memory_bytes;
    return less ? balloon(g, v, boot_target(g->boot)) : NULL;
}

void qemu_learn_memory(struct guest *g, const struct verb *v)
{
    _cleanup_(val_unrefp) struct val *answer = NULL;
    if (!g->boot->balloon)
        return;
    _cleanup_(err_freep) struct err *e = guest_qmp(g, v, "query-balloon", NULL, &answer);
    const struct val *actual =
        !e && val_kind(answer) == VAL_MAP ? val_map_get(answer, "actual") : NULL;
    if (!actual || val_kind(actual) != VAL_INT || val_get_int(actual) < 0) {
        log_warn("event=no-balloon vm=%s text=ignoring", g->vm);
        return;
    }
    pthread_mutex_lock(&g->qemu->lock);
    g->memory_bytes = (uint64_t)val_get_int(actual);
    pthread_mutex_unlock(&g->qemu->lock);
}

/* --- buttons --- */

struct err *qemu_trigger(void *hv, const struct verb *v, const char *vm, enum guest_trigger what)
{
    static const char *const commands[] = {"inject-nmi", "system_powerdown", "system_wakeup"};
    _cleanup_(guest_unrefp) struct guest *g = NULL;
    TRY(guest_get(hv, vm, &g));
    return guest_qmp(g, v, commands[what], NULL, NULL);
}
