/*
 * ovf.c: see ovf.h.
 *
 * One pass: elements that stand alone (File, Disk, Config) are taken from their attributes, the
 * items of the machine's hardware from the text of their members, and at the end the parts are
 * joined: a drive names a disk, the disk a file.
 */
#include "codec/ovf.h"

#include <errno.h>
#include <expat.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

#define DEPTH_MAX 64
#define TEXT_MAX  65536u
#define NAMES_MAX 1024u /* files, and disks, of a whole envelope */

/* The resource types of hardware (CIM). */
enum { RES_CPU = 3, RES_MEMORY = 4, RES_ETHERNET = 10, RES_DISK = 17 };

struct item {
    uint64_t type, quantity;
    char *units, *host, *network, *mac;
};

struct named { /* a File: id and href; a Disk: id and fileRef */
    char *id, *to, *units;
    uint64_t capacity;
    bool is_packed;
};

struct reader {
    XML_Parser expat;
    struct ovf *o;
    const char *why; /* what is wrong; NULL so far */
    unsigned depth, machines;
    struct buf text;  /* of the innermost element */
    struct item item; /* that is read */
    bool in_item;
    VEC(struct named) files, disks;
    VEC(char *) drives; /* the disks' ids, in order */
};

static void item_done(struct item *i)
{
    free(i->units);
    free(i->host);
    free(i->network);
    free(i->mac);
    *i = (struct item){0};
}

static void refuse(struct reader *r, const char *why)
{
    if (!r->why)
        r->why = why;
    (void)XML_StopParser(r->expat, XML_FALSE);
}

static const char *bare(const char *name)
{
    const char *colon = strrchr(name, ':');
    return colon ? colon + 1 : name;
}

static const char *attribute(const char **attrs, const char *name)
{
    for (; *attrs; attrs += 2)
        if (strcmp(bare(attrs[0]), name) == 0)
            return attrs[1];
    return "";
}

/* ---- units ---- */

static uint64_t power_of_two(const char *text)
{
    uint64_t n = 0;
    const char *p = strstr(text, "2^");
    if (!p)
        return 0;
    struct view digits = {p + 2, strspn(p + 2, "0123456789")};
    return str_u64(digits, 0, 50, &n) == 0 ? 1ull << n : 0;
}

uint64_t ovf_unit(const char *text)
{
    static const struct {
        const char *name;
        unsigned shift;
    } names[] = {{"byte", 0},       {"bytes", 0}, {"kilobytes", 10}, {"kb", 10},
                 {"megabytes", 20}, {"mb", 20},   {"gigabytes", 30}, {"gb", 30},
                 {"terabytes", 40}, {"tb", 40}};
    struct view v = view_trim(view_of(text));
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (view_ieq(v, names[i].name))
            return 1ull << names[i].shift;
    return power_of_two(text);
}

/* Too much for a number is too much for a disk. */
static uint64_t scaled(uint64_t n, uint64_t unit)
{
    uint64_t bytes;
    return __builtin_mul_overflow(n, unit, &bytes) ? UINT64_MAX : bytes;
}

/* ---- elements from their attributes ---- */

static void add_file(struct reader *r, const char **attrs)
{
    const char *compression = attribute(attrs, "compression");
    bool is_packed =
        (*compression && strcmp(compression, "identity") != 0) || *attribute(attrs, "chunkSize");
    if (r->files.n == NAMES_MAX) {
        refuse(r, "it names too many files");
        return;
    }
    struct named n = {.id = mem_strdup(attribute(attrs, "id")),
                      .to = mem_strdup(attribute(attrs, "href")),
                      .is_packed = is_packed};
    vec_push(&r->files, n);
}

static void add_disk(struct reader *r, const char **attrs)
{
    uint64_t capacity = 0;
    if (r->disks.n == NAMES_MAX) {
        refuse(r, "it names too many disks");
        return;
    }
    if (*attribute(attrs, "parentRef")) {
        refuse(r, "one of its disks is a difference to another");
        return;
    }
    if (str_u64(view_of(attribute(attrs, "capacity")), 0, UINT64_MAX, &capacity) < 0) {
        refuse(r, "the size of a disk is no number");
        return;
    }
    struct named n = {.id = mem_strdup(attribute(attrs, "diskId")),
                      .to = mem_strdup(attribute(attrs, "fileRef")),
                      .units = mem_strdup(attribute(attrs, "capacityAllocationUnits")),
                      .capacity = capacity};
    vec_push(&r->disks, n);
}

static void on_start(void *arg, const char *full, const char **attrs)
{
    struct reader *r = arg;
    const char *name = bare(full);
    buf_clear(&r->text);
    if (++r->depth > DEPTH_MAX)
        refuse(r, "it is nested too deeply");
    else if (strcmp(name, "File") == 0)
        add_file(r, attrs);
    else if (strcmp(name, "Disk") == 0)
        add_disk(r, attrs);
    else if (strcmp(name, "VirtualSystem") == 0 && ++r->machines > 1)
        refuse(r, "it describes more than one machine");
    else if (strcmp(name, "VirtualSystem") == 0)
        r->o->name = mem_strdup(attribute(attrs, "id"));
    else if (strcmp(name, "Config") == 0 && strcmp(attribute(attrs, "key"), "firmware") == 0)
        r->o->is_uefi = strcmp(attribute(attrs, "value"), "efi") == 0;
    else if (str_ends(name, "Item"))
        r->in_item = true;
}

/* ---- the machine's hardware ---- */

static void add_drive(struct reader *r)
{
    const char *slash = r->item.host ? strrchr(r->item.host, '/') : NULL;
    if (!slash)
        return;
    if (r->drives.n == OVF_PARTS)
        refuse(r, "it has too many disks");
    else
        vec_push(&r->drives, mem_strdup(slash + 1));
}

static void add_nic(struct reader *r)
{
    if (r->o->nics.n == OVF_PARTS) {
        refuse(r, "it has too many network cards");
        return;
    }
    struct ovf_nic nic = {.network = mem_strdup(r->item.network ? r->item.network : ""),
                          .mac = mem_strdup(r->item.mac ? r->item.mac : "")};
    vec_push(&r->o->nics, nic);
}

static void take_item(struct reader *r)
{
    uint64_t unit = ovf_unit(r->item.units ? r->item.units : "MegaBytes");
    if (r->item.type == RES_CPU && r->item.quantity <= 4096)
        r->o->cpus = (unsigned)r->item.quantity;
    else if (r->item.type == RES_MEMORY)
        r->o->memory = scaled(r->item.quantity, unit);
    else if (r->item.type == RES_DISK)
        add_drive(r);
    else if (r->item.type == RES_ETHERNET)
        add_nic(r);
}

static void set_text(char **slot, struct reader *r)
{
    free(*slot);
    *slot = view_dup(view_trim((struct view){r->text.data, r->text.size}));
}

static void take_member(struct reader *r, const char *name)
{
    struct view text = view_trim((struct view){r->text.data, r->text.size});
    if (strcmp(name, "ResourceType") == 0)
        (void)!str_u64(text, 0, UINT32_MAX, &r->item.type);
    else if (strcmp(name, "VirtualQuantity") == 0)
        (void)!str_u64(text, 0, UINT64_MAX, &r->item.quantity);
    else if (strcmp(name, "AllocationUnits") == 0)
        set_text(&r->item.units, r);
    else if (strcmp(name, "HostResource") == 0)
        set_text(&r->item.host, r);
    else if (strcmp(name, "Connection") == 0)
        set_text(&r->item.network, r);
    else if (strcmp(name, "Address") == 0)
        set_text(&r->item.mac, r);
}

static void on_end(void *arg, const char *full)
{
    struct reader *r = arg;
    const char *name = bare(full);
    r->depth--;
    if (str_ends(name, "Item")) {
        take_item(r);
        item_done(&r->item);
        r->in_item = false;
    } else if (r->in_item) {
        take_member(r, name);
    } else if (r->machines && strcmp(name, "Name") == 0) {
        set_text(&r->o->name, r);
    } else if (r->machines && strcmp(name, "Annotation") == 0) {
        set_text(&r->o->description, r);
    }
    buf_clear(&r->text);
}

static void on_text(void *arg, const char *p, int size)
{
    struct reader *r = arg;
    if (r->text.size + (size_t)size > TEXT_MAX)
        refuse(r, "one of its texts is too long");
    else
        buf_put(&r->text, p, (size_t)size);
}

static void on_doctype(void *arg, const char *name, const char *sys, const char *pub, int internal)
{
    (void)name, (void)sys, (void)pub, (void)internal;
    refuse(arg, "it has a document type");
}

/* ---- joining ---- */

static const struct named *find(const struct named *v, size_t n, const char *id)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(v[i].id, id) == 0)
            return &v[i];
    return NULL;
}

static int join_drive(struct reader *r, const char *id)
{
    const struct named *d = find(r->disks.v, r->disks.n, id);
    const struct named *f = d ? find(r->files.v, r->files.n, d->to) : NULL;
    uint64_t unit = d && *d->units ? ovf_unit(d->units) : 1;
    r->why = !d             ? "a drive names a disk that is not there"
             : *d->to && !f ? "a disk names a file that is not there"
             : unit == 0    ? "the unit of a disk's size is not known"
                            : NULL;
    if (r->why)
        return -EINVAL;
    struct ovf_disk disk = {.href = mem_strdup(f ? f->to : ""),
                            .size = scaled(d->capacity, unit),
                            .is_packed = f && f->is_packed};
    vec_push(&r->o->disks, disk);
    return 0;
}

static int join(struct reader *r)
{
    if (!r->machines) {
        r->why = "it describes no machine";
        return -EINVAL;
    }
    vec_each (id, &r->drives)
        if (join_drive(r, *id) < 0)
            return -EINVAL;
    return 0;
}

/* ---- all of it ---- */

static void named_done(struct named *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(v[i].id);
        free(v[i].to);
        free(v[i].units);
    }
    free(v);
}

static void reader_done(struct reader *r)
{
    item_done(&r->item);
    named_done(r->files.v, r->files.n);
    named_done(r->disks.v, r->disks.n);
    vec_each (id, &r->drives)
        free(*id);
    vec_done(&r->drives);
    buf_done(&r->text);
    XML_ParserFree(r->expat);
}

static int parse(struct reader *r, struct view text)
{
    if (text.size > OVF_MAX) {
        r->why = "it is too long";
        return -EINVAL;
    }
    XML_SetUserData(r->expat, r);
    XML_SetElementHandler(r->expat, on_start, on_end);
    XML_SetCharacterDataHandler(r->expat, on_text);
    XML_SetStartDoctypeDeclHandler(r->expat, on_doctype);
    if (XML_Parse(r->expat, text.p, (int)text.size, 1) == XML_STATUS_OK && !r->why)
        return join(r);
    if (!r->why)
        r->why = "it is no well-formed XML";
    return -EINVAL;
}

int ovf_parse(struct view text, struct ovf *ret, const char **ret_why)
{
    struct reader r = {.o = ret, .expat = XML_ParserCreate(NULL)};
    *ret = (struct ovf){0};
    *ret_why = "there is no memory";
    if (!r.expat)
        return -ENOMEM;
    buf_init(&r.text, TEXT_MAX + 1);
    int n = parse(&r, text);
    *ret_why = r.why ? r.why : "";
    reader_done(&r);
    return n;
}

void ovf_done(struct ovf *o)
{
    free(o->name);
    free(o->description);
    vec_each (d, &o->disks)
        free(d->href);
    vec_each (n, &o->nics) {
        free(n->network);
        free(n->mac);
    }
    vec_done(&o->disks);
    vec_done(&o->nics);
    *o = (struct ovf){0};
}
