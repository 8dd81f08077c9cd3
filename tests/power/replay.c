/*
 * replay.c: what is left after a power cut at any place of a recording, and whether it may be.
 *
 *     power-replay LOG CUTS SEED
 *
 * The recording is played into files in memory (mem_file.h). At each of CUTS places a child
 * process loses what no completed sync covers: any part of it, sector by sector, and the changes of
 * the folder from any place on. Then every disk that the marks tell of must be a valid chain, and
 * read what it may read. Marks, one a record:
 *
 *     format NAME              of all images: vhd, qcow2
 *     disk ID SECTORS NAME,…   its images, leaf first, from now on      gone ID
 *     alt ID SECTORS NAME,…    until then these are as good             copy ID FROM
 *     write N AT SECTORS V     of disk 0: sent; V is the content        done N
 *     flush N                  sent: for what is done                   flushed N
 *     durable                  everything is
 *
 * A sector of disk 0 reads what is durable or anything written since; those of the others are as
 * they were. Ends with 1 and a word on what is wrong.
 */
#include <err.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/vec.h"
#include "judge_qcow2.h"
#include "record.h"
#include "tests/unit/disk_call.h"
#include "tests/unit/mem_file.h"

#define SECTORS_MAX 65536u
#define DISKS_MAX   16
#define WAYS_MAX    4
#define LINE_MAX_   4000
#define PART        2048u /* sectors read at once */
#define CHILDREN    2u
#define NAME_ROOM   64u

struct way {
    uint32_t sectors;
    unsigned n;
    char *name[CHAIN_MAX];
};

struct vdisk {
    bool is_used;
    struct way way[WAYS_MAX];
    unsigned n_ways;
    uint32_t stable[SECTORS_MAX];
};

struct past {
    unsigned number, flush; /* flush: the one that covers it, or 0 */
    uint32_t at, n, value;
    bool is_done;
};

struct entry {
    char *name;
    uint32_t file;
};
struct dir_change {
    char *name, *to; /* to: NULL when it is gone or, with is_new, there */
    uint32_t file;
    bool is_new;
};

static struct {
    VEC(struct file *) files; /* by number */
    VEC(struct entry) dir;    /* what is durable of the folder */
    VEC(struct dir_change) pending;
    struct vdisk disk[DISKS_MAX];
    enum image_format format;
    VEC(struct past) past;
    uint64_t record, cuts;
    unsigned running;
} w;

static _Noreturn void wrong(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static _Noreturn void wrong(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)fprintf(stderr, "power cut %llu, before record %llu: ", (unsigned long long)w.cuts,
                  (unsigned long long)w.record);
    (void)vfprintf(stderr, fmt, ap);
    (void)fputc('\n', stderr);
    va_end(ap);
    _exit(1);
}

/* ---- the folder ---- */

static void dir_put(const char *name, uint32_t file)
{
    for (size_t i = 0; i < w.dir.n; i++)
        if (strcmp(w.dir.v[i].name, name) == 0) {
            w.dir.v[i].file = file;
            return;
        }
    vec_push(&w.dir, ((struct entry){mem_strdup(name), file}));
}

static void dir_drop(const char *name)
{
    for (size_t i = 0; i < w.dir.n; i++)
        if (strcmp(w.dir.v[i].name, name) == 0) {
            free(w.dir.v[i].name);
            vec_remove(&w.dir, i);
            return;
        }
}

/* The first `n` changes happen; the others are forgotten. */
static void dir_settle(size_t n)
{
    for (size_t i = 0; i < w.pending.n; i++) {
        struct dir_change *c = &w.pending.v[i];
        if (i < n && !c->is_new)
            dir_drop(c->name);
        if (i < n && (c->is_new || c->to))
            dir_put(c->is_new ? c->name : c->to, c->file);
        free(c->name);
        free(c->to);
    }
    w.pending.n = 0;
}

static const struct entry *dir_find(const char *name)
{
    vec_each (e, &w.dir)
        if (strcmp(e->name, name) == 0)
            return e;
    return NULL;
}

static void path_put(char out[NAME_ROOM], const char *name)
{
    if (snprintf(out, NAME_ROOM, "mem:/%s", name) >= (int)NAME_ROOM)
        errx(2, "the name '%s' is too long", name);
}

/* The files are found by name from now on: images know each other so. */
static void dir_name_files(void)
{
    vec_each (e, &w.dir) {
        char number[24], path[NAME_ROOM];
        (void)snprintf(number, sizeof(number), "mem:%u", e->file);
        path_put(path, e->name);
        if (strcmp(e->name, RECORD_MARKS) != 0)
            mem_rename(number, path);
    }
}

/* ---- marks ---- */

static struct vdisk *disk_of(unsigned id)
{
    if (id >= DISKS_MAX)
        errx(2, "there is no disk %u", id);
    return &w.disk[id];
}

static void ways_drop(struct vdisk *d)
{
    for (unsigned i = 0; i < d->n_ways; i++)
        for (unsigned k = 0; k < d->way[i].n; k++)
            free(d->way[i].name[k]);
    d->n_ways = 0;
}

static void way_add(struct vdisk *d, uint32_t sectors, char *names)
{
    if (d->n_ways == WAYS_MAX || sectors > SECTORS_MAX)
        errx(2, "a mark has no place");
    struct way *way = &d->way[d->n_ways++];
    *way = (struct way){.sectors = sectors};
    for (char *p = strtok(names, ","); p && way->n < CHAIN_MAX; p = strtok(NULL, ","))
        way->name[way->n++] = mem_strdup(p);
    d->is_used = true;
}

static void past_becomes_stable(size_t i)
{
    const struct past *p = &w.past.v[i];
    for (uint32_t k = 0; k < p->n; k++)
        w.disk[0].stable[p->at + k] = p->value;
    vec_remove(&w.past, i);
}

static void mark_flush(unsigned number, bool is_back)
{
    for (size_t i = 0; i < w.past.n;) {
        struct past *p = &w.past.v[i];
        if (!is_back && p->is_done && !p->flush)
            p->flush = number;
        if (is_back && p->flush == number)
            past_becomes_stable(i);
        else
            i++;
    }
}

static void mark_done(unsigned number)
{
    vec_each (p, &w.past)
        if (p->number == number)
            p->is_done = true;
}

static void mark_durable(void)
{
    while (w.past.n) {
        if (!w.past.v[0].is_done)
            errx(2, "a mark says that a write is durable which was not answered");
        past_becomes_stable(0);
    }
}

static void mark(char *line)
{
    unsigned a, b;
    struct past p = {0};
    char names[LINE_MAX_];
    if (sscanf(line, "format %15s", names) == 1) {
        if (image_parse_format(names, &w.format) < 0)
            errx(2, "there is no format '%s'", names);
    } else if (sscanf(line, "disk %u %u %3999s", &a, &b, names) == 3) {
        ways_drop(disk_of(a));
        way_add(disk_of(a), b, names);
    } else if (sscanf(line, "alt %u %u %3999s", &a, &b, names) == 3) {
        way_add(disk_of(a), b, names);
    } else if (sscanf(line, "gone %u", &a) == 1) {
        ways_drop(disk_of(a));
        disk_of(a)->is_used = false;
    } else if (sscanf(line, "copy %u %u", &a, &b) == 2) {
        memcpy(disk_of(a)->stable, disk_of(b)->stable, sizeof(w.disk[0].stable));
    } else if (sscanf(line, "write %u %u %u %u", &p.number, &p.at, &p.n, &p.value) == 4) {
        if (p.at >= SECTORS_MAX || p.n > SECTORS_MAX - p.at)
            errx(2, "a mark writes outside of the disk");
        vec_push(&w.past, p);
    } else if (sscanf(line, "done %u", &a) == 1) {
        mark_done(a);
    } else if (sscanf(line, "flushed %u", &a) == 1) {
        mark_flush(a, true);
    } else if (sscanf(line, "flush %u", &a) == 1) {
        mark_flush(a, false);
    } else if (strcmp(line, "durable") == 0) {
        mark_durable();
    } else {
        errx(2, "the mark '%s' makes no sense", line);
    }
}

/* ---- after a cut ---- */

static bool could_be(const struct vdisk *d, uint32_t sector, uint32_t value)
{
    if (value == d->stable[sector])
        return true;
    for (size_t i = 0; d == w.disk && i < w.past.n; i++) {
        const struct past *p = &w.past.v[i];
        if (p->value == value && sector >= p->at && sector - p->at < p->n)
            return true;
    }
    return false;
}

/* What the disk reads, into `seen`; with `again` it must be what was seen before. */
static int read_all(const struct vdisk *d, struct chain *c, uint32_t *seen, bool again,
                    struct image_why *why)
{
    static uint8_t bytes[PART * SECTOR];
    struct engine *e = engine_new(c, NULL, NULL, NULL);
    uint32_t sectors = (uint32_t)(c->size / SECTOR);
    int r = 0;
    for (uint32_t at = 0; r == 0 && at < sectors; at += PART) {
        uint32_t n = sectors - at < PART ? sectors - at : PART;
        r = call_run(e, BLK_READ, at, n, bytes);
        if (r < 0)
            why_set(why, "reading fails: %s", strerror(-r));
        for (uint32_t i = 0; r == 0 && i < n; i++) {
            uint32_t v;
            bool is_whole = sector_value(bytes + i * SECTOR, &v);
            if (!is_whole || !could_be(d, at + i, v) || (again && v != seen[at + i])) {
                why_set(why, "sector %u reads %u%s; durable is %u", at + i, v,
                        is_whole ? "" : " and other things", d->stable[at + i]);
                r = -EILSEQ;
            }
            seen[at + i] = v;
        }
    }
    engine_free(e);
    return r;
}

static int open_way(const struct way *way, bool readonly, struct chain **ret, struct image_why *why)
{
    static char paths[CHAIN_MAX][NAME_ROOM];
    struct chain_item items[CHAIN_MAX];
    for (unsigned i = 0; i < way->n; i++) {
        if (!dir_find(way->name[i])) {
            why_set(why, "'%s' is not there", way->name[i]);
            return -ENOENT;
        }
        path_put(paths[i], way->name[i]);
        items[i] = (struct chain_item){paths[i], w.format};
    }
    int r = chain_open(items, way->n, readonly, ret, why);
    if (r < 0 || (*ret)->size == (uint64_t)way->sectors * SECTOR)
        return r;
    why_set(why, "the size is %llu", (unsigned long long)(*ret)->size);
    (void)chain_close(*ret, NULL);
    return -ERANGE;
}

static int look(const struct vdisk *d, const struct way *way, bool readonly, bool again,
                struct image_why *why)
{
    static uint32_t seen[SECTORS_MAX];
    struct chain *c;
    int r = open_way(way, readonly, &c, why);
    if (r < 0)
        return r;
    r = read_all(d, c, seen, again, why);
    int closed = chain_close(c, r < 0 ? NULL : why);
    return r < 0 ? r : closed;
}

/* By another reader; only the leaf has been opened and closed since the cut. */
static int judge(const struct way *way, bool leaf_was_closed, struct image_why *why)
{
    int r = 0;
    for (unsigned i = 0; r == 0 && w.format == IMAGE_QCOW2 && i < way->n; i++) {
        char path[NAME_ROOM];
        path_put(path, way->name[i]);
        r = judge_qcow2(path, leaf_was_closed && i == 0, why);
    }
    return r;
}

/* As found, as cairn-diskd opens it, and as it is after that. */
static int try_way(unsigned id, const struct way *way, struct image_why *why)
{
    const struct vdisk *d = &w.disk[id];
    int r = look(d, way, true, false, why);
    if (r == 0)
        r = judge(way, false, why);
    if (r == 0 && id == 0)
        r = look(d, way, false, true, why);
    if (r == 0 && id == 0)
        r = look(d, way, true, true, why);
    if (r == 0 && id == 0)
        r = judge(way, true, why);
    return r;
}

static void check_disk(unsigned id)
{
    const struct vdisk *d = &w.disk[id];
    struct image_why why[WAYS_MAX] = {0};
    for (unsigned i = 0; i < d->n_ways; i++)
        if (try_way(id, &d->way[i], &why[i]) == 0)
            return;
    wrong("disk %u: %s%s%s", id, why[0].text, d->n_ways > 1 ? "; otherwise: " : "", why[1].text);
}

static void reap(void)
{
    int status;
    if (wait(&status) < 0)
        err(2, "wait");
    w.running--;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        exit(WIFEXITED(status) ? WEXITSTATUS(status) : 3);
}

static void cut(void)
{
    w.cuts++;
    (void)mem_random(); /* each child has luck of its own */
    while (w.running >= CHILDREN)
        reap();
    pid_t pid = fork();
    if (pid < 0)
        err(2, "fork");
    w.running++;
    if (pid)
        return;
    dir_settle(mem_below((uint32_t)w.pending.n + 1));
    mem_power_cut();
    dir_name_files();
    for (unsigned i = 0; i < DISKS_MAX; i++)
        if (w.disk[i].is_used)
            check_disk(i);
    _exit(0);
}

/* ---- the recording ---- */

static void nothing(struct io *io, int r)
{
    if (r < 0)
        errx(2, "the recording cannot be played: %s", strerror(-r));
    (void)io;
}

static void play_zero(struct file *f, const struct record *r)
{
    struct io io = {.op = IO_ZERO, .file = f, .offset = r->at, .size = r->length, .done = nothing};
    f->backend->ops->submit(f->backend, &io);
    while (mem_step()) {
    }
}

static bool is_device(struct file *f)
{
    struct file_stat st;
    return file_stat(f, &st) == 0 && st.is_device;
}

static void play_file(const struct record *r, const uint8_t *bytes)
{
    struct file *f = w.files.v[r->file];
    int e = 0;
    if (!f)
        return;
    switch (r->kind) {
    case RECORD_WRITE:
        e = file_pwrite(f, bytes, r->size, r->at);
        break;
    case RECORD_SIZE:
        e = is_device(f) ? 0 : file_truncate(f, r->at);
        break;
    case RECORD_ZERO:
        play_zero(f, r);
        break;
    default:
        e = file_sync(f);
    }
    nothing(NULL, e);
}

static void play_create(const struct record *r, const char *name)
{
    char path[24];
    struct file *f = NULL;
    while (w.files.n <= r->file)
        vec_push(&w.files, NULL);
    (void)snprintf(path, sizeof(path), "mem:%u", r->file);
    mem_store_devices(strncmp(name, RECORD_DEVICE, strlen(RECORD_DEVICE)) == 0 ? RECORD_DEVICE_SIZE
                                                                               : 0);
    if (strcmp(name, RECORD_MARKS) != 0)
        nothing(NULL, file_create(path, &f));
    w.files.v[r->file] = f;
    vec_push(&w.pending, ((struct dir_change){mem_strdup(name), NULL, r->file, true}));
}

static void play(const struct record *r, char *bytes)
{
    switch (r->kind) {
    case RECORD_CREATE:
        play_create(r, bytes);
        break;
    case RECORD_RENAME:
        vec_push(&w.pending,
                 ((struct dir_change){mem_strdup(bytes), mem_strdup(bytes + strlen(bytes) + 1),
                                      r->file, false}));
        break;
    case RECORD_UNLINK:
        vec_push(&w.pending, ((struct dir_change){mem_strdup(bytes), NULL, r->file, false}));
        break;
    case RECORD_SYNC_DIR:
        dir_settle(w.pending.n);
        break;
    case RECORD_MARK:
        bytes[strcspn(bytes, "\n")] = '\0';
        mark(bytes);
        break;
    default:
        play_file(r, (const uint8_t *)bytes);
    }
}

static bool next_record(FILE *log, struct record *r, char *bytes)
{
    if (fread(r, sizeof(*r), 1, log) != 1)
        return false;
    if (r->size > RECORD_SIZE_MAX || (r->size && fread(bytes, r->size, 1, log) != 1))
        errx(2, "the recording ends in the middle");
    bytes[r->size] = '\0';
    return true;
}

static uint64_t count_changes(FILE *log, char *bytes)
{
    uint64_t n = 0;
    struct record r;
    while (next_record(log, &r, bytes))
        n += r.kind != RECORD_MARK;
    rewind(log);
    return n;
}

int main(int argc, char **argv)
{
    static char bytes[RECORD_SIZE_MAX + 1];
    if (argc != 4)
        errx(2, "usage: power-replay LOG CUTS SEED");
    uint64_t cuts = strtoull(argv[2], NULL, 10), seed = strtoull(argv[3], NULL, 10);
    FILE *log = fopen(argv[1], "re");
    if (!log)
        err(2, "%s", argv[1]);
    mem_store_reset(seed);
    w.format = IMAGE_VHD;
    uint64_t n = count_changes(log, bytes), changes = 0;
    struct record r;
    while (next_record(log, &r, bytes)) {
        changes += r.kind != RECORD_MARK;
        while (w.disk[0].is_used && r.kind != RECORD_MARK && w.cuts < cuts * changes / n)
            cut();
        play(&r, bytes);
        w.record++;
    }
    while (w.running)
        reap();
    (void)fclose(log);
    (void)printf("%llu changes, %llu power cuts: every image valid, no flushed write lost\n",
                 (unsigned long long)n, (unsigned long long)w.cuts);
    return 0;
}
