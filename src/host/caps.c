/*
 * caps.c: what this machine can do for guests.
 *
 * Called once by host_new on the thread that starts the program; may block for the KVM probe.
 */
#include "host/caps.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "loop/child.h"

#undef LOG_MODULE
#define LOG_MODULE   "host"

#define PROC_MAX     (4U << 20)
#define SIM_MEMORY   (256ULL << 30)
#define SIM_CPUS     16
#define RESERVE      (768ULL << 20) /* for the host itself, when it offers all it has */
#define VERSION_WAIT (10 * USEC_PER_SEC)
#define OVMF_DIR     "/usr/share/OVMF"
#define TCG_CPU      "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+x2apic"

void caps_done(struct host_caps *c)
{
    free(c->accel);
    free(c->accel_reason);
    free(c->hypervisor);
    free(c->machine);
    free(c->cpu);
    free(c->cpu_vendor);
    free(c->cpu_model_name);
}

struct err *caps_simulated(struct host *h)
{
    h->caps = (struct host_caps){.accel = mem_strdup("sim"),
                                 .accel_reason = mem_strdup("guests are simulated"),
                                 .hypervisor = mem_strdup("simulator 1"),
                                 .machine = mem_strdup(BOOT_MACHINE),
                                 .cpu = mem_strdup("qemu64"),
                                 .uefi = true,
                                 .cpus = SIM_CPUS,
                                 .memory_bytes = h->memory_bytes ? h->memory_bytes : SIM_MEMORY,
                                 .cpu_vendor = mem_strdup("GenuineIntel"),
                                 .cpu_model_name = mem_strdup("Simulated CPU"),
                                 .cpu_mhz = 2000};
    return NULL;
}

/* The value of the first line "key<blanks>: value" of a file of /proc, "" if there is none. */
static char *proc_value(const char *path, const char *key)
{
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, PROC_MAX);
    if (fd_read_file(path, PROC_MAX, &text) < 0)
        return mem_strdup("");
    struct view all = view_of(buf_str(&text)), line;
    bool more = true;
    while (more) {
        more = view_split(&all, '\n', &line);
        struct view name;
        if (view_split(&line, ':', &name) && view_eq(view_trim(name), key))
            return view_dup(view_trim(line));
    }
    return mem_strdup("");
}

/* "16384 kB" in bytes. */
static uint64_t meminfo(const char *key)
{
    _cleanup_(freep) char *text = proc_value("/proc/meminfo", key);
    text[strspn(text, "0123456789")] = '\0';
    uint64_t kib = 0;
    return str_u64(view_of(text), 0, UINT64_MAX >> 10, &kib) == 0 ? kib << 10 : 0;
}

static bool has_word(const char *text, const char *word)
{
    struct view all = view_of(text), one;
    bool more = true;
    while (more) {
        more = view_split(&all, ' ', &one);
        if (view_eq(one, word))
            return true;
    }
    return false;
}

static void find_cpu(struct host_caps *c)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    c->cpus = n > 0 ? (unsigned)n : 1;
    c->cpu_vendor = proc_value("/proc/cpuinfo", "vendor_id");
    c->cpu_model_name = proc_value("/proc/cpuinfo", "model name");
    _cleanup_(freep) char *mhz = proc_value("/proc/cpuinfo", "cpu MHz");
    double f = 0;
    if (str_double(view_of(mhz), &f) == 0 && f > 0 && f < 1e6)
        c->cpu_mhz = (int64_t)f;
}

static bool cpu_virtualizes(void)
{
    _cleanup_(freep) char *flags = proc_value("/proc/cpuinfo", "flags");
    return has_word(flags, "vmx") || has_word(flags, "svm");
}

/* Why KVM cannot be used here, or NULL when a guest has run under it. Owned by the caller. */
static char *kvm_problem(const struct host *h)
{
    if (access("/dev/kvm", F_OK) < 0)
        return mem_strdup("the kernel offers no /dev/kvm");
    if (!cpu_virtualizes())
        return mem_strdup("the CPU shows neither vmx nor svm");
    if (access("/dev/kvm", R_OK | W_OK) < 0)
        return mem_strdup("/dev/kvm may not be opened by this user");
    char *reason = NULL;
    if (kvm_probe(h->qemu, h->run_dir, &reason) < 0)
        return reason;
    return NULL;
}

static struct err *choose_accel(struct host *h, const char *wanted)
{
    struct host_caps *c = &h->caps;
    if (wanted && str_eq(wanted, "tcg")) {
        c->accel = mem_strdup("tcg");
        c->accel_reason = mem_strdup("asked for by the configuration");
        return NULL;
    }
    _cleanup_(freep) char *problem = kvm_problem(h);
    if (problem && wanted && str_eq(wanted, "kvm"))
        return err_internal("KVM is asked for, but %s", problem);
    c->accel = mem_strdup(problem ? "tcg" : "kvm");
    c->accel_reason = problem ? steal(&problem) : mem_strdup("a probe guest has run under KVM");
    return NULL;
}

/* "QEMU emulator version 7.2.22 (Debian …)" as "QEMU 7.2.22". */
static struct err *find_qemu(struct host *h)
{
    const char *argv[] = {h->qemu, "--version", NULL};
    struct child_spec spec = {.argv = argv};
    struct child_exit how;
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, 4096);
    TRY(child_run(&spec, VERSION_WAIT, &out, NULL, &how));
    const char *version = strstr(buf_str(&out), "version ");
    if (how.code != 0 || !version)
        return err_internal("'%s' is no QEMU that runs here", h->qemu);
    version += strlen("version ");
    h->caps.hypervisor = mem_printf("QEMU %.*s", (int)strcspn(version, " \n"), version);
    return NULL;
}

char *caps_firmware(bool secure, bool variables)
{
    char *path = mem_printf(OVMF_DIR "/OVMF_%s_4M%s.fd", variables ? "VARS" : "CODE",
                            secure ? (variables ? ".ms" : ".secboot") : "");
    if (access(path, R_OK) == 0)
        return path;
    free(path);
    return mem_strdup("");
}

struct err *caps_find(struct host *h, const char *accel)
{
    struct host_caps *c = &h->caps;
    find_cpu(c);
    TRY(find_qemu(h));
    TRY(choose_accel(h, accel && !str_eq(accel, "auto") ? accel : NULL));
    log_info("event=acceleration accel=%s reason=\"%s\"", c->accel, c->accel_reason);
    c->machine = mem_strdup(BOOT_MACHINE);
    c->cpu = mem_strdup(str_eq(c->accel, "kvm") ? "host" : TCG_CPU);
    _cleanup_(freep) char *code = caps_firmware(false, false);
    c->uefi = code[0] != '\0';
    uint64_t total = meminfo("MemTotal");
    c->memory_bytes = total > RESERVE ? total - RESERVE : total;
    if (h->memory_bytes && h->memory_bytes < c->memory_bytes)
        c->memory_bytes = h->memory_bytes;
    c->root = geteuid() == 0 || h->privd;
    return NULL;
}

/* What a guest's process still may take from the machine beyond what it has taken. */
static uint64_t not_yet_taken(const struct guest_item *g)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%lld/status", (long long)g->info.pid);
    _cleanup_(freep) char *text = proc_value(path, "VmRSS");
    text[strspn(text, "0123456789")] = '\0';
    uint64_t kib = 0;
    if (str_u64(view_of(text), 0, UINT64_MAX >> 10, &kib) < 0)
        kib = 0;
    uint64_t promised = g->boot ? host_guest_memory(g->boot) : g->info.memory_bytes;
    return promised > kib << 10 ? promised - (kib << 10) : 0;
}

uint64_t host_memory_free(struct host *h)
{
    struct guest_item *items = NULL;
    size_t n = 0;
    err_free(host_list(h, &items, &n));
    uint64_t promised = 0, pending = 0;
    for (size_t i = 0; i < n; i++) {
        promised += items[i].boot ? host_guest_memory(items[i].boot) : items[i].info.memory_bytes;
        if (items[i].info.pid)
            pending += not_yet_taken(&items[i]);
    }
    guest_items_free(items, n);
    uint64_t total = h->caps.memory_bytes;
    uint64_t by_promise = total > promised ? total - promised : 0;
    if (str_eq(h->caps.accel, "sim"))
        return by_promise;
    uint64_t available = meminfo("MemAvailable");
    uint64_t by_machine = available > pending ? available - pending : 0;
    return by_promise < by_machine ? by_promise : by_machine;
}
