/*
 * sim_sample.c: what simulated guests use. Part of the simulator.
 *
 * A function of the guest's uuid, the device and the clock, and of nothing that would have to be
 * read from the world's files: a thousand guests are sampled in a moment. Every counter grows
 * evenly; its rate is in the uuid's digits, so a test can say what to expect (sim_rate). As with
 * most guests, the first disk is busy and the others are idle.
 */
#include <math.h>

#include "host/sample_impl.h"
#include "host/sim_world.h"

/* 1 to 16, by the guest and by what is counted. */
unsigned sim_rate(const char *vm, unsigned what)
{
    size_t size = strlen(vm);
    char c = size ? vm[what % size] : '0';
    return (c >= 'a' ? (unsigned)(c - 'a') + 10u : (unsigned)(c - '0')) % 16u + 1u;
}

static uint64_t count(double time, const char *vm, unsigned what, unsigned unit)
{
    return (uint64_t)(time * sim_rate(vm, what) * unit);
}

void sim_sample(void *hv, const char *vm, struct guest_sample *s)
{
    for (size_t i = 0; i < s->n_cpus; i++)
        s->cpu_s[i] = s->time * sim_rate(vm, (unsigned)i) / 20.0;
    s->free_kib = 1024.0 * sim_rate(vm, 7);
    for (size_t i = 0; i < s->n_nics; i++) {
        struct nic_sample *n = &s->nics[i];
        n->known = true;
        n->rx_bytes = count(s->time, vm, n->device, 1000);
        n->tx_bytes = count(s->time, vm, n->device + 1, 500);
    }
}

void sim_sample_disks(void *disks, const char *vm, struct disk_sample *list, size_t n)
{
    const struct sim *s = disks;
    double time = sample_clock(s->host);
    for (size_t i = 0; i < n; i++) {
        struct disk_sample *d = &list[i];
        d->known = true;
        if (d->device)
            continue;
        d->read_ops = count(time, vm, d->device, 1);
        d->write_ops = count(time, vm, d->device + 1, 2);
        d->read_bytes = d->read_ops * 4096;
        d->write_bytes = d->write_ops * 8192;
        d->read_us = d->read_ops * 100;
        d->write_us = d->write_ops * 300;
        d->hit_bytes = d->read_ops * 3072;
        d->miss_bytes = d->read_ops * 1024;
        d->copy_hit_bytes = d->read_ops * 512;
        d->copy_miss_bytes = d->read_ops * 256;
        d->inflight = sim_rate(vm, d->device + 2) % 4;
    }
}
