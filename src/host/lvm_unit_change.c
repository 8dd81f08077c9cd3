/*
 * lvm_unit_change.c: metadata of volume groups on units; see lvm_unit.h.
 *
 * Mutex: changes of this process, one after the other; held while cairn-diskd is asked, and no
 * other is taken under it.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/str.h"
#include "codec/lvm_edit.h"
#include "host/lvm_group.h"
#include "host/lvm_unit.h"
#include "task/fault.h"

#define EDGE  (1U << 20) /* bytes at both ends of a unit that tell whether it is blank */
#define TRIES 8
#define AGAIN 20000 /* µs */

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static void turn_end(pthread_mutex_t **m)
{
    pthread_mutex_unlock(*m);
}

#define IN_TURN                                                                                    \
    _cleanup_(turn_end) pthread_mutex_t *my_turn = &turn;                                          \
    pthread_mutex_lock(my_turn)

static void tell_host(char ret[64])
{
    if (gethostname(ret, 64) < 0)
        ret[0] = '\0';
    ret[63] = '\0';
    for (char *c = ret; *c; c++)
        if (*c == '"' || *c == '\\' || *c < ' ')
            *c = '_';
}

/* ---- one change of the tree ---- */

static int do_change(struct lvm_edit *e, const struct unit_change *c, uint64_t extent)
{
    char id[LVM_ID_SIZE], host[64];
    uint64_t extents = (c->size + extent - 1) / extent;
    switch (c->verb) {
    case UNIT_CREATE:
        lvm_new_id(id);
        tell_host(host);
        return lvm_edit_create(e, &(struct lvm_new_lv){c->volume, id, host, time(NULL)}, extents);
    case UNIT_EXTEND:
        return lvm_edit_extend(e, c->volume, extents);
    case UNIT_REDUCE:
        return lvm_edit_reduce(e, c->volume, extents);
    case UNIT_WRITABLE:
        return lvm_edit_writable(e, c->volume);
    case UNIT_RENAME:
        return lvm_edit_rename(e, c->volume, c->to);
    case UNIT_REMOVE:
    default:
        return lvm_edit_remove(e, c->volume);
    }
}

static struct err *cannot(const struct unit_change *c, int r, const char *why)
{
    if (r == -ENOSPC)
        return err_errno(ENOSPC, "the volume group '%s' has no room", c->group);
    return err_errno(-r, "the volume '%s' cannot be changed: %s", c->volume, why ? why : "");
}

static struct err *new_text(const struct lvm_raw *raw, const struct unit_change *c, struct buf *out)
{
    _cleanup_(lvm_vg_done) struct lvm_vg vg = {0};
    struct view text = {raw->text, raw->place.size};
    struct lvm_edit e;
    const char *why = "";
    int r = lvm_vg_parse(text, raw->place.sum, &vg, &why);
    if (r == 0 && !str_eq(vg.name, c->group))
        return err_internal("the unit has the volume group '%s', not '%s'", vg.name, c->group);
    if (r == 0)
        r = lvm_edit_open(text, &e, &why);
    if (r < 0)
        return cannot(c, r, why);
    r = do_change(&e, c, vg.extent_size);
    if (r == 0)
        lvm_edit_write(&e, out);
    lvm_edit_done(&e);
    return r < 0 ? cannot(c, r, strerror(-r)) : buf_ok(out) ? NULL : cannot(c, -EFBIG, NULL);
}

/* As it will be read: what cannot be is not written. */
static struct err *check_text(const struct buf *text, const struct unit_change *c)
{
    _cleanup_(lvm_vg_done) struct lvm_vg vg = {0};
    const char *why = "";
    int r = lvm_vg_parse((struct view){text->data, text->size}, lvm_sum(text->data, text->size),
                         &vg, &why);
    return r < 0 ? cannot(c, r, why) : NULL;
}

/* Whole sectors; the buffer's end is nobody's. */
static void fill_sector(struct buf *b)
{
    while (b->size % 512)
        buf_putc(b, '\0');
}

static struct err *put_text(const char *url, const struct lvm_raw *raw, struct buf *text)
{
    uint8_t head[LVM_MDA_BYTES];
    struct lvm_place place;
    int r = lvm_mda_next(&raw->mda, &raw->place, text->size, &place);
    if (r < 0)
        return err_errno(-r, "the volume group's metadata has no room");
    place.sum = lvm_sum(text->data, text->size);
    lvm_mda_put(&raw->mda, &place, head);
    fill_sector(text);
    TRY(fault_point("unit metadata"));
    struct unit_step expect = {raw->mda.at, raw->head, LVM_MDA_BYTES};
    struct unit_step steps[] = {{place.at, text->data, text->size},
                                {raw->mda.at, head, LVM_MDA_BYTES}};
    return lvm_unit_commit(url, &expect, steps, ARRAY_LEN(steps));
}

static struct err *change(const char *url, const struct unit_change *c)
{
    _cleanup_(lvm_raw_done) struct lvm_raw raw = {0};
    _cleanup_(buf_done) struct buf text;
    const char *why = "";
    buf_init(&text, LVM_TEXT_MAX);
    int r = lvm_raw_read(url, &raw, &why);
    if (r < 0)
        return cannot(c, r, why);
    TRY(new_text(&raw, c, &text));
    TRY(check_text(&text, c));
    return put_text(url, &raw, &text);
}

/* A predecessor's last change may still be under way. */
static bool is_passing(const struct err *e)
{
    return err_get_errno(e) == ESTALE || err_get_errno(e) == EBUSY;
}

struct err *lvm_unit_change(const char *url, const struct unit_change *c)
{
    IN_TURN;
    struct err *e = change(url, c);
    for (int i = 1; e && is_passing(e) && i < TRIES; i++) {
        err_free(e);
        (void)usleep(AGAIN);
        e = change(url, c);
    }
    return e;
}

/* ---- the group itself ---- */

struct edges {
    uint64_t size; /* of the unit */
    size_t n;      /* of each edge */
    uint8_t *first, *last;
};

static void edges_done(struct edges *e)
{
    free(e->first);
    free(e->last);
}

static struct err *read_edges(const char *url, struct edges *ret)
{
    TRY(lvm_unit_size(url, &ret->size));
    ret->n = ret->size < EDGE ? (size_t)(ret->size / 512 * 512) : EDGE;
    ret->first = mem_zalloc(EDGE, 1);
    ret->last = mem_zalloc(EDGE, 1);
    int r = lvm_unit_read(url, 0, ret->first, ret->n);
    if (r == 0)
        r = lvm_unit_read(url, ret->size - ret->n, ret->last, ret->n);
    return r < 0 ? err_errno(-r, "the unit cannot be read") : NULL;
}

static bool is_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

struct err *lvm_unit_examine(const char *url, char **ret)
{
    _cleanup_(edges_done) struct edges edges = {0};
    _cleanup_(lvm_vg_done) struct lvm_vg vg = {0};
    const char *why = "";
    if (lvm_group_read(url, &vg, &why) == 0) {
        *ret = mem_printf("carries the volume group '%s'", vg.name);
        return NULL;
    }
    TRY(read_edges(url, &edges));
    bool blank = is_zero(edges.first, edges.n) && is_zero(edges.last, edges.n);
    *ret = mem_strdup(blank ? "" : "carries data at its beginning or end");
    return NULL;
}

/* What a new group's device begins with: label, header of the metadata, text. */
static struct err *make_group(const char *group, uint64_t size, struct buf *ret)
{
    char id[LVM_ID_SIZE], pv_id[LVM_ID_SIZE], host[64];
    uint8_t head[LVM_NEW_MDA_AT + LVM_MDA_BYTES] = {0};
    struct lvm_place none = {0}, place;
    struct lvm_area mda;
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, 65536);
    lvm_new_id(id);
    lvm_new_id(pv_id);
    tell_host(host);
    struct lvm_new_vg n = {group, id, pv_id, host, size, time(NULL)};
    int r = lvm_new_group(&n, head, &mda, &text);
    if (r == 0)
        r = lvm_mda_next(&mda, &none, text.size, &place);
    if (r < 0)
        return err_errno(-r, "the unit is too small or too large for a volume group");
    place.sum = lvm_sum(text.data, text.size);
    lvm_mda_put(&mda, &place, head + LVM_NEW_MDA_AT);
    buf_put(ret, head, sizeof(head)); /* the text is the first behind the header */
    buf_put(ret, text.data, text.size);
    fill_sector(ret);
    return NULL;
}

struct err *lvm_unit_create(const char *url, const char *group, bool force)
{
    IN_TURN;
    _cleanup_(freep) char *found = NULL;
    _cleanup_(edges_done) struct edges edges = {0};
    _cleanup_(buf_done) struct buf head;
    buf_init(&head, 1 << 20);
    TRY(lvm_unit_examine(url, &found));
    if (found[0] && !force)
        return err_internal("the unit %s", found);
    TRY(read_edges(url, &edges));
    TRY(make_group(group, edges.size, &head));
    _cleanup_(freep) uint8_t *zeroes = mem_zalloc(EDGE, 1);
    TRY(fault_point("unit metadata"));
    struct unit_step expect = {0, edges.first, LVM_NEW_MDA_AT};
    struct unit_step steps[] = {
        {0, zeroes, edges.n}, {edges.size - edges.n, zeroes, edges.n}, {0, head.data, head.size}};
    size_t skip = found[0] ? 0 : 2;
    return lvm_unit_commit(url, &expect, steps + skip, ARRAY_LEN(steps) - skip);
}

/* Without its label it is no physical volume any more; then what is behind that goes, so that the
 * unit is blank. */
struct err *lvm_unit_remove(const char *url, const char *group)
{
    IN_TURN;
    _cleanup_(lvm_raw_done) struct lvm_raw raw = {0};
    _cleanup_(lvm_vg_done) struct lvm_vg vg = {0};
    _cleanup_(freep) uint8_t *zeroes = mem_zalloc(EDGE, 1);
    const char *why = "";
    int r = lvm_raw_read(url, &raw, &why);
    if (r == 0)
        r = lvm_vg_parse((struct view){raw.text, raw.place.size}, raw.place.sum, &vg, &why);
    if (r < 0)
        return err_errno(-r, "the volume group cannot be removed: %s", why);
    if (!str_eq(vg.name, group) || vg.lvs.n || vg.pvs.n != 1)
        return err_internal("the volume group '%s' is not empty, or not on this unit alone",
                            vg.name);
    TRY(fault_point("unit metadata"));
    struct unit_step expect = {raw.mda.at, raw.head, LVM_MDA_BYTES};
    struct unit_step steps[] = {{0, zeroes, LVM_LABEL_BYTES}, {0, zeroes, EDGE}};
    return lvm_unit_commit(url, &expect, steps, ARRAY_LEN(steps));
}
