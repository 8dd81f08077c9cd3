/* lvm_edit.c: see lvm_edit.h. New parts of the tree are written as text and parsed. */
#include "codec/lvm_edit.h"

#include <errno.h>
#include <stdlib.h>

#include "codec/lvm_text.h"

#define EXTENTS_MAX (UINT64_C(1) << 26) /* that are allocated from: 256 TiB */
#define SNIPPET_MAX (16u << 20)

struct run {
    uint64_t first, extents;
};
struct runs {
    VEC(struct run) list;
};

static int refuse(const char **ret_why, const char *why)
{
    *ret_why = why;
    return -EINVAL;
}

/* ---- the tree ---- */

static struct lvm_node *get(struct lvm_node *section, const char *key, enum lvm_kind kind)
{
    return (struct lvm_node *)(uintptr_t)lvm_text_get(section, key, kind);
}

static uint64_t number_of(struct lvm_node *section, const char *key)
{
    const struct lvm_node *n = get(section, key, LVM_NUMBER);
    return n && n->number > 0 ? (uint64_t)n->number : 0;
}

static bool lists(struct lvm_node *section, const char *key, const char *word)
{
    const struct lvm_node *list = get(section, key, LVM_LIST);
    for (const struct lvm_node *n = list ? list->first : NULL; n; n = n->next)
        if (n->kind == LVM_STRING && str_eq(n->string, word))
            return true;
    return false;
}

/* Behind the last member; the text stays with us. 0 or -ENOMEM, when it is too long. */
static int append(struct lvm_edit *e, struct lvm_node *section, struct buf *text)
{
    const char *why;
    if (!buf_ok(text))
        return -ENOMEM;
    char *own = buf_take(text);
    vec_push(&e->texts, own);
    struct lvm_node *new = lvm_text_parse(view_of(own), &why), **end = &section->first;
    if (!new)
        return -EINVAL;
    while (*end)
        end = &(*end)->next;
    *end = new->first;
    new->first = NULL;
    lvm_text_free(new);
    return 0;
}

static int open_group(struct lvm_edit *e, const char **ret_why)
{
    struct lvm_node *g = e->root->first, *pvs;
    while (g && g->kind != LVM_SECTION)
        g = g->next;
    pvs = g ? get(g, "physical_volumes", LVM_SECTION) : NULL;
    if (!pvs || !get(g, "seqno", LVM_NUMBER))
        return refuse(ret_why, "there is no volume group in the metadata");
    if (!pvs->first || pvs->first->next || pvs->first->kind != LVM_SECTION)
        return refuse(ret_why, "the volume group lies on several devices");
    if (!lists(g, "status", "WRITE") || !lists(g, "status", "RESIZEABLE") ||
        lists(g, "status", "EXPORTED") || lists(g, "status", "PARTIAL"))
        return refuse(ret_why, "the volume group is exported, not whole or not to be changed");
    if (lists(g, "status", "CLUSTERED") || get(g, "lock_type", LVM_STRING))
        return refuse(ret_why, "the volume group is locked by a cluster");
    if (number_of(pvs->first, "pe_count") > EXTENTS_MAX)
        return refuse(ret_why, "the volume group has too many extents");
    e->group = g;
    e->pv = pvs->first;
    return 0;
}

int lvm_edit_open(struct view text, struct lvm_edit *ret, const char **ret_why)
{
    *ret = (struct lvm_edit){.root = lvm_text_parse(text, ret_why)};
    int r = ret->root ? open_group(ret, ret_why) : -EINVAL;
    if (r < 0)
        lvm_edit_done(ret);
    return r;
}

void lvm_edit_done(struct lvm_edit *e)
{
    lvm_text_free(e->root);
    vec_each (text, &e->texts)
        free(*text);
    vec_done(&e->texts);
    *e = (struct lvm_edit){0};
}

static struct lvm_node *find(struct lvm_edit *e, const char *name)
{
    struct lvm_node *lvs = get(e->group, "logical_volumes", LVM_SECTION);
    return lvs ? get(lvs, name, LVM_SECTION) : NULL;
}

/* Whether a volume is made of that one. */
static bool mentions(const struct lvm_node *n, const char *name)
{
    for (; n; n = n->next)
        if ((n->kind == LVM_STRING && str_eq(n->string, name)) || mentions(n->first, name))
            return true;
    return false;
}

static bool is_used(struct lvm_edit *e, const char *name)
{
    return mentions(get(e->group, "logical_volumes", LVM_SECTION)->first, name);
}

/* ---- extents ---- */

static bool is_pv(const struct lvm_edit *e, const struct lvm_node *n)
{
    return n->kind == LVM_STRING && view_eq(e->pv->key, n->string) && n->next &&
           n->next->kind == LVM_NUMBER && n->next->number >= 0;
}

/* Whatever kind it is of: as many extents as it has, from each place on that it names. */
static void mark_segment(const struct lvm_edit *e, struct lvm_node *segment, uint8_t *used,
                         uint64_t n_used)
{
    uint64_t extents = number_of(segment, "extent_count");
    for (const struct lvm_node *list = segment->first; list; list = list->next)
        for (const struct lvm_node *n = list->first; n; n = n->next) {
            if (!is_pv(e, n))
                continue;
            uint64_t from = (uint64_t)n->next->number;
            if (from < n_used)
                memset(used + from, 1, extents < n_used - from ? extents : n_used - from);
        }
}

static uint8_t *map_extents(struct lvm_edit *e, uint64_t n)
{
    uint8_t *used = mem_zalloc(n + 1, 1);
    const struct lvm_node *lvs = get(e->group, "logical_volumes", LVM_SECTION);
    for (const struct lvm_node *lv = lvs ? lvs->first : NULL; lv; lv = lv->next)
        for (struct lvm_node *s = lv->first; s; s = s->next)
            if (s->kind == LVM_SECTION)
                mark_segment(e, s, used, n);
    return used;
}

static uint64_t free_from(const uint8_t *used, uint64_t n, uint64_t at)
{
    uint64_t end = at;
    while (end < n && !used[end])
        end++;
    return end - at;
}

static void take_run(struct runs *runs, uint64_t first, uint64_t extents, uint64_t *want)
{
    struct run run = {first, extents < *want ? extents : *want};
    if (!run.extents)
        return;
    vec_push(&runs->list, run);
    *want -= run.extents;
}

/* One piece if there is one: where the volume ends now, the first that is large enough, and
 * otherwise from the beginning what there is. */
static int allocate(struct lvm_edit *e, uint64_t want, uint64_t end, struct runs *ret)
{
    uint64_t n = number_of(e->pv, "pe_count"), size;
    _cleanup_(freep) uint8_t *used = map_extents(e, n);
    if (!lists(e->pv, "status", "ALLOCATABLE") || lists(e->pv, "flags", "MISSING"))
        return -ENOSPC;
    if (end && end < n) {
        size = free_from(used, n, end);
        memset(used + end, 1, size < want ? size : want);
        take_run(ret, end, size, &want);
    }
    for (uint64_t at = 0; want && at < n; at += size + 1) {
        size = free_from(used, n, at);
        if (size >= want) {
            take_run(ret, at, size, &want);
            return 0;
        }
    }
    for (uint64_t at = 0; want && at < n; at += size + 1) {
        size = free_from(used, n, at);
        take_run(ret, at, size, &want);
    }
    return want ? -ENOSPC : 0;
}

/* ---- volumes ---- */

static void put_segments(const struct lvm_edit *e, const struct runs *runs, size_t skip, uint64_t n,
                         uint64_t at, struct buf *b)
{
    for (size_t i = skip; i < runs->list.n; i++) {
        const struct run *run = &runs->list.v[i];
        buf_printf(b,
                   "segment%llu {\nstart_extent = %llu\nextent_count = %llu\ntype = \"striped\"\n"
                   "stripe_count = 1\nstripes = [\"%.*s\", %llu]\n}\n",
                   (unsigned long long)++n, (unsigned long long)at,
                   (unsigned long long)run->extents, (int)e->pv->key.size, e->pv->key.p,
                   (unsigned long long)run->first);
        at += run->extents;
    }
}

static int add_volume(struct lvm_edit *e, const struct lvm_new_lv *lv, const struct runs *runs)
{
    struct lvm_node *lvs = get(e->group, "logical_volumes", LVM_SECTION);
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, SNIPPET_MAX);
    if (!lvs)
        buf_puts(&b, "logical_volumes {\n");
    buf_printf(&b,
               "%s {\nid = \"%s\"\nstatus = [\"READ\", \"WRITE\", \"VISIBLE\"]\nflags = []\n"
               "creation_time = %lld\ncreation_host = \"%s\"\nsegment_count = %zu\n",
               lv->name, lv->id, (long long)lv->now, lv->host, runs->list.n);
    put_segments(e, runs, 0, 0, 0, &b);
    buf_puts(&b, lvs ? "}\n" : "}\n}\n");
    return append(e, lvs ? lvs : e->group, &b);
}

int lvm_edit_create(struct lvm_edit *e, const struct lvm_new_lv *lv, uint64_t extents)
{
    struct runs runs = {0};
    if (find(e, lv->name) || !extents)
        return extents ? -EEXIST : -EINVAL;
    int r = allocate(e, extents, 0, &runs);
    if (r == 0)
        r = add_volume(e, lv, &runs);
    vec_done(&runs.list);
    return r;
}

struct shape {
    uint64_t extents, n; /* segments */
    struct lvm_node *last;
    uint64_t end;   /* behind its last extent */
    bool is_linear; /* all of it */
};

static struct shape shape_of(const struct lvm_edit *e, struct lvm_node *lv)
{
    struct shape s = {.is_linear = true};
    for (struct lvm_node *n = lv->first; n; n = n->next) {
        if (n->kind != LVM_SECTION)
            continue;
        struct lvm_node *list = get(n, "stripes", LVM_LIST);
        uint64_t size = number_of(n, "extent_count");
        bool is_one = list && list->first && is_pv(e, list->first) && !list->first->next->next;
        s.is_linear &= is_one && size && number_of(n, "start_extent") == s.extents;
        s.extents += size;
        s.end = is_one ? (uint64_t)list->first->next->number + size : 0;
        s.last = n;
        s.n++;
    }
    s.is_linear &= s.n > 0 && number_of(lv, "segment_count") == s.n;
    return s;
}

static void set_number(struct lvm_node *section, const char *key, uint64_t value)
{
    get(section, key, LVM_NUMBER)->number = (int64_t)value;
}

static int add_runs(struct lvm_edit *e, struct lvm_node *lv, const struct shape *s,
                    const struct runs *runs)
{
    _cleanup_(buf_done) struct buf b;
    const struct run *first = &runs->list.v[0];
    bool joins = first->first == s->end;
    uint64_t at = s->extents + (joins ? first->extents : 0);
    buf_init(&b, SNIPPET_MAX);
    put_segments(e, runs, joins ? 1 : 0, s->n, at, &b);
    if (joins)
        set_number(s->last, "extent_count", number_of(s->last, "extent_count") + first->extents);
    set_number(lv, "segment_count", s->n + runs->list.n - (joins ? 1 : 0));
    return b.size ? append(e, lv, &b) : 0;
}

int lvm_edit_extend(struct lvm_edit *e, const char *name, uint64_t extents)
{
    struct lvm_node *lv = find(e, name);
    struct runs runs = {0};
    if (!lv)
        return -ENOENT;
    struct shape s = shape_of(e, lv);
    if (!s.is_linear || extents <= s.extents)
        return -EINVAL;
    int r = allocate(e, extents - s.extents, s.end, &runs);
    if (r == 0)
        r = add_runs(e, lv, &s, &runs);
    vec_done(&runs.list);
    return r;
}

/* Without the member that `at` points to. */
static void drop(struct lvm_node **at)
{
    struct lvm_node *gone = *at;
    *at = gone->next;
    gone->next = NULL;
    lvm_text_free(gone);
}

int lvm_edit_reduce(struct lvm_edit *e, const char *name, uint64_t extents)
{
    struct lvm_node *lv = find(e, name);
    if (!lv)
        return -ENOENT;
    struct shape s = shape_of(e, lv);
    if (!s.is_linear || !extents || extents >= s.extents)
        return -EINVAL;
    for (struct lvm_node **at = &lv->first; *at;) {
        uint64_t first = (*at)->kind == LVM_SECTION ? number_of(*at, "start_extent") : 0;
        if ((*at)->kind == LVM_SECTION && first >= extents) {
            drop(at);
            s.n--;
            continue;
        }
        if ((*at)->kind == LVM_SECTION && number_of(*at, "extent_count") > extents - first)
            set_number(*at, "extent_count", extents - first);
        at = &(*at)->next;
    }
    set_number(lv, "segment_count", s.n);
    return 0;
}

int lvm_edit_rename(struct lvm_edit *e, const char *name, const char *to)
{
    struct lvm_node *lv = find(e, name);
    if (!lv || find(e, to))
        return lv ? -EEXIST : -ENOENT;
    if (is_used(e, name))
        return -EBUSY;
    char *own = mem_strdup(to);
    vec_push(&e->texts, own);
    lv->key = view_of(own);
    return 0;
}

/* lvm2 writes no section of volumes when there are none. */
int lvm_edit_remove(struct lvm_edit *e, const char *name)
{
    struct lvm_node *lv = find(e, name), *lvs = get(e->group, "logical_volumes", LVM_SECTION);
    if (!lv || is_used(e, name))
        return lv ? -EBUSY : -ENOENT;
    struct lvm_node **at = &lvs->first;
    while (*at != lv)
        at = &(*at)->next;
    drop(at);
    for (at = &e->group->first; !lvs->first && *at; at = &(*at)->next)
        if (*at == lvs) {
            drop(at);
            break;
        }
    return 0;
}

int lvm_edit_writable(struct lvm_edit *e, const char *name)
{
    struct lvm_node *lv = find(e, name), *status = lv ? get(lv, "status", LVM_LIST) : NULL;
    if (!status)
        return -ENOENT;
    if (lists(lv, "status", "WRITE"))
        return 0;
    struct lvm_node *word = mem_new(struct lvm_node);
    word->kind = LVM_STRING;
    word->string = mem_strdup("WRITE");
    word->next = status->first;
    status->first = word;
    return 0;
}

/* ---- writing ---- */

static void put_string(struct buf *b, const char *s)
{
    buf_putc(b, '"');
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            buf_putc(b, '\\');
        buf_putc(b, *s);
    }
    buf_putc(b, '"');
}

static void put_value(struct buf *b, const struct lvm_node *n)
{
    if (n->kind == LVM_STRING) {
        put_string(b, n->string);
        return;
    }
    if (n->kind == LVM_NUMBER) {
        buf_put_int(b, n->number);
        return;
    }
    buf_putc(b, '[');
    for (const struct lvm_node *item = n->first; item; item = item->next) {
        put_value(b, item);
        buf_puts(b, item->next ? ", " : "");
    }
    buf_putc(b, ']');
}

/* As deep as what was parsed. */
static void put_members(struct buf *b, const struct lvm_node *section)
{
    for (const struct lvm_node *n = section->first; n; n = n->next) {
        buf_put(b, n->key.p, n->key.size);
        if (n->kind == LVM_SECTION) {
            buf_puts(b, " {\n");
            put_members(b, n);
            buf_puts(b, "}\n\n");
            continue;
        }
        buf_puts(b, " = ");
        put_value(b, n);
        buf_putc(b, '\n');
    }
}

void lvm_edit_write(struct lvm_edit *e, struct buf *out)
{
    get(e->group, "seqno", LVM_NUMBER)->number++;
    put_members(out, e->root);
    buf_putc(out, '\0');
}
