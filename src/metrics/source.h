/*
 * source.h: what can be measured: names, units, types, limits. One table for all of it.
 *
 * A kind of source ("bytes read by a guest's disk per second") stands once, in SOURCE_KINDS; a
 * source is a kind with what its name is completed by (a device, a CPU's number): vbd_xvda_read.
 * The names, units, types and descriptions are XenServer's, clients know them by heart.
 *
 * A source is made once and lives until its pool is freed, so that a thousand guests share the
 * string "vbd_xvda_read". Any thread.
 */
#pragma once

#include <stdbool.h>

#include "base/str.h"

/* Whom it is about, and the word for it in a legend. */
enum metrics_owner { OWNER_HOST, OWNER_VM, OWNER_SR, OWNER_N };
const char *owner_name(enum metrics_owner o); /* "host", "vm", "sr" */

/* How the value of an interval comes out of what was sampled. */
enum source_type {
    SOURCE_GAUGE,    /* it is the value */
    SOURCE_DERIVE,   /* the difference to the last one, per second */
    SOURCE_ABSOLUTE, /* counted since the last one: per second */
};
const char *source_type_name(enum source_type t); /* "GAUGE" … */

/*
 *  symbol, owner, name (%s: device), type, unit, max, standard, description,
 *  OpenMetrics: family, type, unit suffix, factor, label of the device ("" none)
 *
 * Minimum is 0 everywhere; max 0 means none. `standard`: recorded without being asked for. A family
 * "" is not exported: another one says the same.
 */
#define SOURCE_DISK(X, P, owner, prefix, suffix, what, fam, label)                                 \
    X(P##_READ, owner, prefix "read" suffix, DERIVE, "B/s", 0, true,                               \
      "Reads from device " what ", in B/s", fam "_read_bytes", COUNTER, 1, label)                  \
    X(P##_WRITE, owner, prefix "write" suffix, DERIVE, "B/s", 0, true,                             \
      "Writes to device " what ", in B/s", fam "_written_bytes", COUNTER, 1, label)                \
    X(P##_READ_LATENCY, owner, prefix "read_latency" suffix, GAUGE, "μs", 0, true,                 \
      "Read latency from device " what ", in microseconds", fam "_read_latency_seconds", GAUGE,    \
      1e-6, label)                                                                                 \
    X(P##_WRITE_LATENCY, owner, prefix "write_latency" suffix, GAUGE, "μs", 0, true,               \
      "Write latency to device " what ", in microseconds", fam "_write_latency_seconds", GAUGE,    \
      1e-6, label)                                                                                 \
    X(P##_THROUGHPUT_READ, owner, prefix "io_throughput_read" suffix, ABSOLUTE, "MiB/s", 0, true,  \
      "Data read from the " what ", in MiB/s", "", GAUGE, 1, label)                                \
    X(P##_THROUGHPUT_WRITE, owner, prefix "io_throughput_write" suffix, ABSOLUTE, "MiB/s", 0,      \
      true, "Data written to the " what ", in MiB/s", "", GAUGE, 1, label)                         \
    X(P##_THROUGHPUT_TOTAL, owner, prefix "io_throughput_total" suffix, ABSOLUTE, "MiB/s", 0,      \
      true, "All " what " I/O, in MiB/s", "", GAUGE, 1, label)                                     \
    X(P##_IOPS_READ, owner, prefix "iops_read" suffix, ABSOLUTE, "requests/s", 0, true,            \
      "Read requests per second", "", GAUGE, 1, label)                                             \
    X(P##_IOPS_WRITE, owner, prefix "iops_write" suffix, ABSOLUTE, "requests/s", 0, true,          \
      "Write requests per second", "", GAUGE, 1, label)                                            \
    X(P##_IOPS_TOTAL, owner, prefix "iops_total" suffix, ABSOLUTE, "requests/s", 0, true,          \
      "I/O requests per second", "", GAUGE, 1, label)                                              \
    X(P##_IOWAIT, owner, prefix "iowait" suffix, ABSOLUTE, "s/s", 0, true,                         \
      "Total I/O wait time (all requests) per second", "", GAUGE, 1, label)                        \
    X(P##_INFLIGHT, owner, prefix "inflight" suffix, GAUGE, "requests", 0, true,                   \
      "Number of I/O requests currently in flight", fam "_inflight_requests", GAUGE, 1, label)     \
    X(P##_LATENCY, owner, prefix "latency" suffix, GAUGE, "μs", 0, true, "Average I/O latency",    \
      fam "_latency_seconds", GAUGE, 1e-6, label)                                                  \
    X(P##_QUEUE, owner, prefix "avgqu_sz" suffix, GAUGE, "requests", 0, true,                      \
      "Average I/O queue size", fam "_queue_requests", GAUGE, 1, label)                            \
    X(P##_CACHE_HITS, owner, prefix "read_cache_hits" suffix, GAUGE, "(fraction)", 0, true,        \
      "Share of what the " what " reads of images that are not written that the host has in its "  \
      "memory",                                                                                    \
      fam "_read_cache_hit_ratio", GAUGE, 1, label)

#define SOURCE_KINDS(X)                                                                            \
    X(HOST_CPU, HOST, "cpu%s", DERIVE, "(fraction)", 1, true, "Physical cpu usage for cpu %s",     \
      "cairn_host_cpu_seconds", COUNTER, 1, "cpu")                                                 \
    X(HOST_CPU_AVG, HOST, "cpu_avg", DERIVE, "(fraction)", 1, true, "Average physical cpu usage",  \
      "", GAUGE, 1, "")                                                                            \
    X(HOST_LOADAVG, HOST, "loadavg", GAUGE, "(fraction)", 0, true, "Domain0 loadavg",              \
      "cairn_host_load_ratio", GAUGE, 1, "")                                                       \
    X(HOST_HOSTLOAD, HOST, "hostload", GAUGE, "(fraction)", 0, true,                               \
      "Host load per physical cpu, where load refers to the number of vCPU(s) in running or "      \
      "runnable status.",                                                                          \
      "cairn_host_vcpu_load_ratio", GAUGE, 1, "")                                                  \
    X(HOST_RUNNING_VCPUS, HOST, "running_vcpus", GAUGE, "count", 0, true,                          \
      "The total number of running vCPUs per host", "cairn_host_running_vcpus", GAUGE, 1, "")      \
    X(HOST_RUNNING_DOMAINS, HOST, "running_domains", GAUGE, "count", 0, true,                      \
      "The total number of running domains per host", "cairn_host_running_vms", GAUGE, 1, "")      \
    X(HOST_MEMORY_TOTAL, HOST, "memory_total_kib", GAUGE, "KiB", 0, true,                          \
      "Total amount of memory in the host", "cairn_host_memory_total_bytes", GAUGE, 1024, "")      \
    X(HOST_MEMORY_FREE, HOST, "memory_free_kib", GAUGE, "KiB", 0, true,                            \
      "Total amount of free memory", "cairn_host_memory_free_bytes", GAUGE, 1024, "")              \
    X(HOST_PIF_RX, HOST, "pif_%s_rx", DERIVE, "B/s", 0, true,                                      \
      "Bytes per second received on physical interface %s", "cairn_host_network_received_bytes",   \
      COUNTER, 1, "interface")                                                                     \
    X(HOST_PIF_TX, HOST, "pif_%s_tx", DERIVE, "B/s", 0, true,                                      \
      "Bytes per second sent on physical interface %s", "cairn_host_network_sent_bytes", COUNTER,  \
      1, "interface")                                                                              \
    X(HOST_PIF_RX_ERRORS, HOST, "pif_%s_rx_errors", DERIVE, "err/s", 0, false,                     \
      "Receive errors per second on physical interface %s", "cairn_host_network_receive_errors",   \
      COUNTER, 1, "interface")                                                                     \
    X(HOST_PIF_TX_ERRORS, HOST, "pif_%s_tx_errors", DERIVE, "err/s", 0, false,                     \
      "Transmit errors per second on physical interface %s", "cairn_host_network_send_errors",     \
      COUNTER, 1, "interface")                                                                     \
    X(HOST_PIF_AGGR_RX, HOST, "pif_aggr_rx", DERIVE, "B/s", 0, true,                               \
      "Bytes per second received on all physical interfaces", "", GAUGE, 1, "")                    \
    X(HOST_PIF_AGGR_TX, HOST, "pif_aggr_tx", DERIVE, "B/s", 0, true,                               \
      "Bytes per second sent on all physical interfaces", "", GAUGE, 1, "")                        \
    SOURCE_DISK(X, HOST_SR, HOST, "", "_%s", "SR", "cairn_sr_io", "sr")                            \
    X(HOST_CACHE_SIZE, HOST, "sr_%s_cache_size", GAUGE, "B", 0, true,                              \
      "Size in bytes of what the SR keeps of disks on servers", "cairn_host_cache_size_bytes",     \
      GAUGE, 1, "sr")                                                                              \
    X(HOST_CACHE_HITS, HOST, "sr_%s_cache_hits", DERIVE, "B/s", 0, true,                           \
      "Reads of disks on servers that the SR has kept, in B/s", "cairn_host_cache_hit_bytes",      \
      COUNTER, 1, "sr")                                                                            \
    X(HOST_CACHE_MISSES, HOST, "sr_%s_cache_misses", DERIVE, "B/s", 0, true,                       \
      "Reads of disks on servers that the SR has not kept, in B/s", "cairn_host_cache_miss_bytes", \
      COUNTER, 1, "sr")                                                                            \
    X(VM_CPU, VM, "cpu%s", DERIVE, "(fraction)", 1, true, "CPU%s usage", "cairn_vm_cpu_seconds",   \
      COUNTER, 1, "vcpu")                                                                          \
    X(VM_CPU_USAGE, VM, "cpu_usage", DERIVE, "(fraction)", 1, true, "Domain CPU usage", "", GAUGE, \
      1, "")                                                                                       \
    X(VM_MEMORY, VM, "memory", GAUGE, "B", 0, true, "Memory currently allocated to VM",            \
      "cairn_vm_memory_bytes", GAUGE, 1, "")                                                       \
    X(VM_MEMORY_TARGET, VM, "memory_target", GAUGE, "B", 0, true, "Target of VM balloon driver",   \
      "cairn_vm_memory_target_bytes", GAUGE, 1, "")                                                \
    X(VM_MEMORY_INTERNAL_FREE, VM, "memory_internal_free", GAUGE, "KiB", 0, true,                  \
      "Memory used as reported by the guest agent", "cairn_vm_memory_internal_free_bytes", GAUGE,  \
      1024, "")                                                                                    \
    X(VM_VIF_RX, VM, "vif_%s_rx", DERIVE, "B/s", 0, true,                                          \
      "Bytes per second received on virtual interface number '%s'",                                \
      "cairn_vm_network_received_bytes", COUNTER, 1, "vif")                                        \
    X(VM_VIF_TX, VM, "vif_%s_tx", DERIVE, "B/s", 0, true,                                          \
      "Bytes per second transmitted on virtual interface number '%s'",                             \
      "cairn_vm_network_sent_bytes", COUNTER, 1, "vif")                                            \
    X(VM_VIF_RX_ERRORS, VM, "vif_%s_rx_errors", DERIVE, "err/s", 0, false,                         \
      "Receive errors per second on virtual interface number '%s'",                                \
      "cairn_vm_network_receive_errors", COUNTER, 1, "vif")                                        \
    X(VM_VIF_TX_ERRORS, VM, "vif_%s_tx_errors", DERIVE, "err/s", 0, false,                         \
      "Transmit errors per second on virtual interface number '%s'",                               \
      "cairn_vm_network_send_errors", COUNTER, 1, "vif")                                           \
    SOURCE_DISK(X, VM_VBD, VM, "vbd_%s_", "", "VDI", "cairn_vm_disk", "device")                    \
    X(SR_SIZE, SR, "size", GAUGE, "B", 0, true, "Size of the storage repository",                  \
      "cairn_sr_size_bytes", GAUGE, 1, "")                                                         \
    X(SR_UTILISATION, SR, "physical_utilisation", GAUGE, "B", 0, true,                             \
      "Bytes in use on the storage repository", "cairn_sr_physical_utilisation_bytes", GAUGE, 1,   \
      "")

enum source_kind_id {
#define SOURCE_ENUM(symbol, ...) SOURCE_##symbol,
    SOURCE_KINDS(SOURCE_ENUM)
#undef SOURCE_ENUM
        SOURCE_N,
};

enum om_type { OM_GAUGE, OM_COUNTER };

struct source_kind {
    enum metrics_owner owner;
    const char *name, *description; /* with one %s or none */
    enum source_type type;
    const char *units;
    double max; /* 0: none */
    bool standard;
    const char *family; /* "" if not exported */
    enum om_type om;
    double factor; /* sampled value to exported one */
    const char *label;
};
extern const struct source_kind source_kinds[SOURCE_N];

/* One source. A foreign one, out of a file that somebody gave us, has no kind. */
struct source {
    const struct source_kind *kind; /* NULL: foreign */
    enum metrics_owner owner;
    enum source_type type;
    double min, max; /* -INFINITY, INFINITY: none */
    const char *device;
    const char *name;
    char *description;
};

struct source_pool;
struct source_pool *source_pool_new(void);
void source_pool_free(struct source_pool *p); /* with all sources; NULL is fine */
/* `device` is what stands for %s; "" where the kind has none. Borrowed from the pool. */
const struct source *source_get(struct source_pool *p, enum source_kind_id kind,
                                const char *device);
/* The one of that owner and name, or a foreign one of that type and those limits. */
const struct source *source_by_name(struct source_pool *p, enum metrics_owner owner,
                                    const char *name, enum source_type type, double min,
                                    double max);
/* The units, "unknown" for a foreign one. */
const char *source_units(const struct source *s);
