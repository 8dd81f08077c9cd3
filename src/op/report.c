/*
 * report.c: the parts of the status report, see report.h. A part that cannot be had is left out;
 * only a reader that has left ends the report.
 */
#include "op/report.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "host/kernel_log.h"
#include "op/world.h"
#include "state/dump.h"

#define TEXT_MAX  (4u << 20)           /* of what is put together in memory */
#define FILE_MAX  (INT64_C(256) << 20) /* of a log: its end */
#define DEPTH_MAX 4

struct report {
    struct op *op;
    struct ops *ops;
    struct snap *snap;
    struct pack *pack;
    char *root; /* folder in the archive */
};

/* ---- members ---- */

static struct err *put_buf(struct report *r, const char *name, struct buf *b)
{
    _cleanup_(freep) char *full = mem_printf("%s/%s", r->root, name);
    TRY(op_check(r->op));
    return pack_text(r->pack, full, buf_str(b), b->size);
}

/* Files of /proc have no size: they are read first. */
static struct err *put_proc(struct report *r, const char *name, const char *path)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, TEXT_MAX);
    int e = fd_read_file(path, TEXT_MAX, &b);
    return e < 0 && e != -E2BIG ? NULL : put_buf(r, name, &b);
}

static struct err *put_regular(struct report *r, const char *name, const char *path)
{
    _cleanup_(freep) char *full = mem_printf("%s/%s", r->root, name);
    _cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat st;
    TRY(op_check(r->op));
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return NULL;
    if (st.st_size > FILE_MAX)
        (void)lseek(fd, st.st_size - FILE_MAX, SEEK_SET);
    return pack_fd(r->pack, full, fd);
}

static void closedirp(DIR **d)
{
    if (*d)
        closedir(*d);
}

static struct err *put_folder(struct report *r, const char *name, const char *path, unsigned depth)
{
    _cleanup_(closedirp) DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        _cleanup_(freep) char *below = mem_printf("%s/%s", path, e->d_name);
        _cleanup_(freep) char *as = mem_printf("%s/%s", name, e->d_name);
        if (e->d_name[0] == '.')
            continue;
        if (e->d_type == DT_REG)
            TRY(put_regular(r, as, below));
        else if (e->d_type == DT_DIR && depth < DEPTH_MAX)
            TRY(put_folder(r, as, below, depth + 1));
    }
    return NULL;
}

static struct err *put_procs(struct report *r, const char *const *names)
{
    for (; *names; names++) {
        _cleanup_(freep) char *path = mem_printf("/proc/%s", *names);
        _cleanup_(freep) char *as = mem_printf("proc/%s", *names);
        TRY(put_proc(r, as, path));
    }
    return NULL;
}

/* ---- the parts ---- */

void report_daemon_log(struct buf *out)
{
    log_tail(out);
}

static struct err *part_logs(struct report *r)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, TEXT_MAX);
    report_daemon_log(&b);
    TRY(put_buf(r, "log/cairnd-end.log", &b));
    return r->ops->cfg.log_dir ? put_folder(r, "log", r->ops->cfg.log_dir, 0) : NULL;
}

static int put_to_file(void *arg, const void *p, size_t size)
{
    return fd_write_all(*(int *)arg, p, size);
}

/* Written aside first: the archive must know a member's size before. */
static struct err *part_database(struct report *r)
{
    const char *dir = r->ops->cfg.state_dir;
    _cleanup_(freep) char *name = mem_printf("%s/database.xml", r->root);
    _cleanup_(fd_closep) int fd = dir ? open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)
                                      : memfd_create("database", MFD_CLOEXEC);
    if (fd < 0)
        return err_errno(errno, "cannot write into '%s'", dir ? dir : "memory");
    TRY(dump_write(r->snap, DUMP_MASKED, put_to_file, &fd));
    if (lseek(fd, 0, SEEK_SET) < 0)
        return err_errno(errno, "cannot read the database again");
    return pack_fd(r->pack, name, fd);
}

static struct err *part_dumps(struct report *r)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, TEXT_MAX);
    if (!r->ops->cfg.dump)
        return NULL;
    r->ops->cfg.dump(r->ops->cfg.dump_arg, &b);
    return put_buf(r, "cairnctl-dump.txt", &b);
}

static void put_map(struct buf *b, const struct val *map)
{
    for (size_t i = 0; i < val_count(map); i++)
        buf_printf(b, "%s=%s\n", val_key_at(map, i), val_str_at(map, i));
}

static struct err *part_version(struct report *r)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, TEXT_MAX);
    const struct rec_host *h = snap_host(r->snap, r->ops->host_ref);
    const struct host_caps *c = host_caps(r->ops->cfg.host);
    if (h)
        put_map(&b, h->software_version);
    buf_printf(&b, "hypervisor=%s\nmachine=%s\ncpu=%s\naccelerator=%s\naccelerator_reason=%s\n",
               c->hypervisor, c->machine, c->cpu, c->accel, c->accel_reason);
    return put_buf(r, "version.txt", &b);
}

/* The arguments of a process, one a line. */
static struct err *put_arguments(struct report *r, const char *vm, int64_t pid)
{
    _cleanup_(buf_done) struct buf b;
    _cleanup_(freep) char *path = mem_printf("/proc/%lld/cmdline", (long long)pid);
    _cleanup_(freep) char *name = mem_printf("guests/%s/command-line.txt", vm);
    buf_init(&b, TEXT_MAX);
    if (fd_read_file(path, TEXT_MAX, &b) < 0)
        return NULL;
    for (size_t i = 0; i < b.size; i++)
        b.data[i] = b.data[i] ? b.data[i] : '\n';
    return put_buf(r, name, &b);
}

static struct err *part_guests(struct report *r)
{
    snap_each (row, r->snap, CLASS_boot) {
        const struct rec_boot *boot = rec_boot(row);
        _cleanup_(freep) char *name = mem_printf("guests/%s/boot-record.json", boot->uuid);
        _cleanup_(buf_done) struct buf b;
        buf_init(&b, TEXT_MAX);
        buf_puts(&b, boot->record);
        TRY(put_buf(r, name, &b));
        if (boot->pid > 0)
            TRY(put_arguments(r, boot->uuid, boot->pid));
    }
    return NULL;
}

/* Repositories and what lies in them, parents before children where that is known. */
static void put_volumes(struct buf *b, const struct snap *s, const struct rec_SR *sr)
{
    val_each (ref, sr->VDIs) {
        const struct rec_VDI *v = snap_VDI(s, ref);
        if (v)
            buf_printf(b, "  %s size=%lld used=%lld location=%s parent=%s%s\n", v->uuid,
                       (long long)v->virtual_size, (long long)v->physical_utilisation, v->location,
                       val_map_str(v->sm_config, "vhd-parent", ""), v->missing ? " missing" : "");
    }
}

static struct err *part_storage(struct report *r)
{
    static const char *const files[] = {"partitions", "diskstats", "mounts", "mdstat", NULL};
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, TEXT_MAX);
    char **owners = NULL;
    size_t n = 0;
    snap_each (row, r->snap, CLASS_SR) {
        const struct rec_SR *sr = rec_SR(row);
        buf_printf(&b, "SR %s type=%s size=%lld used=%lld\n", sr->uuid, sr->type,
                   (long long)sr->physical_size, (long long)sr->physical_utilisation);
        put_volumes(&b, r->snap, sr);
    }
    err_free(host_disks_list(r->ops->cfg.host, &owners, &n));
    for (size_t i = 0; i < n; i++) {
        buf_printf(&b, "cairn-diskd of %s\n", owners[i]);
        free(owners[i]);
    }
    free(owners);
    TRY(put_buf(r, "storage.txt", &b));
    return put_procs(r, files);
}

static struct err *part_hardware(struct report *r)
{
    static const char *const files[] = {"cpuinfo", "meminfo",         "interrupts", "iomem",
                                        "devices", "bus/pci/devices", NULL};
    return put_procs(r, files);
}

static struct err *part_kernel(struct report *r)
{
    static const char *const files[] = {"version", "cmdline",     "modules", "loadavg",
                                        "stat",    "uptime",      "vmstat",  "slabinfo",
                                        "locks",   "filesystems", "swaps",   NULL};
    _cleanup_(freep) char *text = NULL;
    struct err *e = host_kernel_log(r->ops->cfg.host, false, &text);
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, TEXT_MAX);
    buf_puts(&b, text ? text : "");
    err_free(e);
    TRY(put_buf(r, "kernel.log", &b));
    return put_procs(r, files);
}

static struct err *part_network(struct report *r)
{
    static const char *const files[] = {"net/dev",      "net/route", "net/arp",
                                        "net/if_inet6", "net/snmp",  "net/softnet_stat",
                                        "net/sockstat", NULL};
    return put_procs(r, files);
}

/* Names, states and sizes; arguments and environments may hold anything. */
static struct err *part_processes(struct report *r)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, TEXT_MAX);
    _cleanup_(closedirp) DIR *d = opendir("/proc");
    for (struct dirent *e; d && (e = readdir(d));) {
        uint64_t pid;
        if (str_u64(view_of(e->d_name), 1, INT32_MAX, &pid) < 0)
            continue;
        _cleanup_(freep) char *path = mem_printf("/proc/%s/stat", e->d_name);
        _cleanup_(buf_done) struct buf stat;
        buf_init(&stat, 4096);
        if (fd_read_file(path, 4096, &stat) == 0)
            buf_put(&b, stat.data, stat.size);
    }
    return put_buf(r, "processes.txt", &b);
}

static struct err *part_crashes(struct report *r)
{
    return r->ops->cfg.crash_dir ? put_folder(r, "crash", r->ops->cfg.crash_dir, 0) : NULL;
}

/* ---- the list ---- */

static const struct part {
    const char *key, *pii, *type;
    bool checked;
    unsigned long long max_size; /* bytes; -1ull: not known */
    unsigned max_time;           /* seconds */
    struct err *(*write)(struct report *r);
} parts[] = {
    {"xenserver-config", "if_customized", "text/plain", true, 65536, 5, part_version},
    {"xenserver-logs", "maybe", "text/plain", true, -1ull, 60, part_logs},
    {"xenserver-databases", "yes", "text/xml", true, -1ull, 30, part_database},
    {"xenserver-domains", "maybe", "text/plain", true, TEXT_MAX, 30, part_guests},
    {"cairn-dumps", "no", "text/plain", true, TEXT_MAX, 5, part_dumps},
    {"disk-info", "maybe", "text/plain", true, TEXT_MAX, 10, part_storage},
    {"hardware-info", "maybe", "text/plain", true, TEXT_MAX, 5, part_hardware},
    {"kernel-info", "maybe", "text/plain", true, TEXT_MAX, 5, part_kernel},
    {"network-status", "yes", "text/plain", true, TEXT_MAX, 5, part_network},
    {"process-list", "maybe", "text/plain", true, TEXT_MAX, 10, part_processes},
    {"host-crashdump-logs", "maybe", "application/data", false, -1ull, 600, part_crashes},
};

void report_capabilities(struct buf *out)
{
    buf_puts(out, "<?xml version=\"1.0\" ?><system-status-capabilities>");
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        const struct part *p = &parts[i];
        buf_printf(out,
                   "<capability content-type=\"%s\" default-checked=\"%s\" key=\"%s\" "
                   "max-size=\"%lld\" max-time=\"%u\" min-size=\"-1\" min-time=\"-1\" pii=\"%s\"/>",
                   p->type, p->checked ? "yes" : "no", p->key, (long long)p->max_size, p->max_time,
                   p->pii);
    }
    buf_puts(out, "</system-status-capabilities>");
}

static bool names(const char *entries, const char *key)
{
    struct view rest = view_of(entries), one;
    for (bool more = true; more;) {
        more = view_split(&rest, ',', &one);
        if (view_eq(view_trim(one), key))
            return true;
    }
    return false;
}

static bool is_wanted(const char *entries, const struct part *p)
{
    return entries ? names(entries, p->key) : p->checked;
}

static struct err *put_contents(struct report *r, const char *entries)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, TEXT_MAX);
    buf_printf(&b, "asked for: %s\n", entries ? entries : "what is in by default");
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (is_wanted(entries, &parts[i]))
            buf_printf(&b, "%s\n", parts[i].key);
    return put_buf(r, "contents.txt", &b);
}

static void report_done(struct report *r)
{
    pack_free(r->pack);
    snap_unref(r->snap);
    free(r->root);
}

static struct err *begin(struct report *r, struct op *op, const char *what, enum pack_form form,
                         pack_put_fn put, void *arg)
{
    char when[DATETIME_SIZE];
    str_datetime(now_s(), when);
    r->op = op;
    r->ops = ops_of(op);
    r->snap = snap_get(op->db);
    r->root = mem_printf("%s-%s", what, when);
    for (char *p = r->root; *p; p++)
        *p = *p == ':' ? '-' : *p; /* for file systems that know no colons */
    return pack_new(form, put, arg, &r->pack);
}

struct err *report_write(struct op *op, const char *entries, enum pack_form form, pack_put_fn put,
                         void *arg)
{
    _cleanup_(report_done) struct report r = {0};
    TRY(begin(&r, op, "bug-report", form, put, arg));
    TRY(put_contents(&r, entries));
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        op_progress(op, (double)i / (double)ARRAY_LEN(parts));
        if (is_wanted(entries, &parts[i]))
            TRY(parts[i].write(&r));
    }
    return pack_end(r.pack);
}

struct err *report_write_logs(struct op *op, enum pack_form form, pack_put_fn put, void *arg)
{
    _cleanup_(report_done) struct report r = {0};
    TRY(begin(&r, op, "host-logs", form, put, arg));
    TRY(part_logs(&r));
    return pack_end(r.pack);
}
