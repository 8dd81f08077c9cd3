/*
 * sample.h: what the host, its guests and their disks have used so far.
 *
 * Counters since the guest was started (or longer), read from the outside: nobody is asked to do
 * anything. The caller brings the question and the room in one: the arrays of a guest_sample with
 * the devices filled in; what could not be learnt is left unknown.
 *
 *     struct disk_sample disks[] = {{.device = 0}};
 *     struct guest_sample s = {.n_cpus = 2, .cpu_s = room, .n_disks = 1, .disks = disks};
 *     host_sample_guest(h, uuid, &s);
 *
 * One thread at a time; it may block for a second or two if a guest's process does not answer.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct host;

struct disk_sample {
    unsigned device; /* the question */
    bool known;
    uint64_t read_bytes, write_bytes, read_ops, write_ops;
    uint64_t read_us, write_us; /* from arrival to answer, summed up */
    uint64_t inflight;
    uint64_t hit_bytes, miss_bytes; /* of what is only read: found in the page cache, or not */
    uint64_t copy_hit_bytes, copy_miss_bytes; /* in the host's copy of its parent, or not */
};

struct nic_sample {
    unsigned device; /* the question */
    bool known;
    uint64_t rx_bytes, tx_bytes, rx_errors, tx_errors; /* as the guest sees them */
};

struct guest_sample {
    double time;     /* when, seconds since 1970 */
    size_t n_cpus;   /* the question; virtual CPUs in order */
    double *cpu_s;   /* seconds each has run; NAN: unknown */
    double free_kib; /* that the guest itself calls free; NAN: it does not say */
    size_t n_disks;
    struct disk_sample *disks;
    size_t n_nics;
    struct nic_sample *nics;
};
void host_sample_guest(struct host *h, const char *vm, struct guest_sample *s);

#define SAMPLE_CPUS_MAX 1024
#define SAMPLE_NICS_MAX 64

struct host_nic_sample {
    char name[16];
    uint64_t rx_bytes, tx_bytes, rx_errors, tx_errors;
};

struct host_sample {
    double time;
    size_t n_cpus;
    double cpu_s[SAMPLE_CPUS_MAX]; /* seconds each was busy */
    double loadavg;                /* of one minute; NAN: unknown, as below */
    double available_kib;          /* memory that the host's own programs could still take */
    size_t n_nics;
    struct host_nic_sample nics[SAMPLE_NICS_MAX];
    double fs, log_fs, memory; /* shares in use, 0 … 1: file systems of / and of the logs (unknown
                                  when they are the same), memory and swap */
};
void host_sample_self(struct host *h, struct host_sample *s);
