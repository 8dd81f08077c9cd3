/* test_lvm_edit.c: codec/lvm_edit and lvm_new: groups that are made and changed here are read again
 * by codec/lvm, whose tests compare that with lvm2's own. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/fd.h"
#include "codec/bytes.h"
#include "codec/lvm_edit.h"

#define MIB (UINT64_C(1) << 20)

static struct view view_in(const struct buf *b)
{
    return (struct view){b->data, b->size};
}

static void read_vg(const struct buf *b, struct lvm_vg *vg)
{
    const char *why = "";
    int r = lvm_vg_parse(view_in(b), lvm_sum(b->data, b->size), vg, &why);
    if (r < 0)
        fail_msg("%s", why);
}

static struct lvm_area make(struct buf *text, uint64_t mib, uint8_t label[LVM_LABEL_BYTES])
{
    char id[LVM_ID_SIZE], pv[LVM_ID_SIZE];
    struct lvm_area mda;
    lvm_new_id(id);
    lvm_new_id(pv);
    buf_init(text, 1 << 20);
    struct lvm_new_vg n = {"VG_x", id, pv, "here", mib * MIB, 1700000000};
    assert_int_equal(lvm_new_group(&n, label, &mda, text), 0);
    return mda;
}

static void a_new_group(void **state)
{
    uint8_t label[LVM_LABEL_BYTES], head[LVM_MDA_BYTES];
    struct lvm_place none = {0}, place, found;
    struct lvm_label l;
    struct lvm_vg vg;
    struct buf text;
    const char *why = "";
    (void)state;
    struct lvm_area mda = make(&text, 64, label);
    assert_int_equal(lvm_label_parse(label, &l, &why), 0);
    assert_int_equal(l.device_size, 64 * MIB);
    assert_int_equal(l.mda.at, mda.at);
    assert_int_equal(l.mda.size, mda.size);
    assert_int_equal(lvm_mda_next(&mda, &none, text.size, &place), 0);
    assert_int_equal(place.at, mda.at + 512);
    place.sum = lvm_sum(text.data, text.size);
    lvm_mda_put(&mda, &place, head);
    assert_int_equal(lvm_mda_parse(head, &mda, &found, &why), 0);
    assert_memory_equal(&found, &place, sizeof(found));
    read_vg(&text, &vg);
    assert_string_equal(vg.name, "VG_x");
    assert_string_equal(vg.pvs.v[0].id, l.id);
    assert_int_equal(lvm_vg_free(&vg), (64 - 11) / 4);
    lvm_vg_done(&vg);
    buf_done(&text);
}

/* The text after a change, read; the old one is replaced by it. */
static int change(struct buf *text, int (*how)(struct lvm_edit *e, const void *arg),
                  const void *arg, struct lvm_vg *vg)
{
    struct lvm_edit e;
    const char *why = "";
    struct buf next;
    assert_int_equal(lvm_edit_open(view_in(text), &e, &why), 0);
    int r = how(&e, arg);
    if (r == 0) {
        buf_init(&next, 1 << 20);
        lvm_edit_write(&e, &next);
    }
    lvm_edit_done(&e);
    if (r < 0)
        return r;
    buf_done(text);
    *text = next;
    lvm_vg_done(vg);
    read_vg(text, vg);
    return 0;
}

struct ask {
    const char *name, *to;
    uint64_t extents;
};

static int create(struct lvm_edit *e, const void *arg)
{
    const struct ask *a = arg;
    char id[LVM_ID_SIZE];
    lvm_new_id(id);
    return lvm_edit_create(e, &(struct lvm_new_lv){a->name, id, "here", 1700000000}, a->extents);
}
static int extend(struct lvm_edit *e, const void *arg)
{
    const struct ask *a = arg;
    return lvm_edit_extend(e, a->name, a->extents);
}
static int reduce(struct lvm_edit *e, const void *arg)
{
    const struct ask *a = arg;
    return lvm_edit_reduce(e, a->name, a->extents);
}
static int rename_to(struct lvm_edit *e, const void *arg)
{
    const struct ask *a = arg;
    return lvm_edit_rename(e, a->name, a->to);
}
static int remove_it(struct lvm_edit *e, const void *arg)
{
    const struct ask *a = arg;
    return lvm_edit_remove(e, a->name);
}

#define DO(how, ...) change(&text, how, &(struct ask){__VA_ARGS__}, &vg)

static void volumes_come_grow_and_go(void **state)
{
    uint8_t label[LVM_LABEL_BYTES];
    struct lvm_vg vg = {0};
    struct buf text;
    (void)state;
    make(&text, 11 + 40, label); /* ten extents */
    assert_int_equal(DO(create, "a", NULL, 3), 0);
    assert_int_equal(DO(create, "b", NULL, 2), 0);
    assert_int_equal(DO(create, "a", NULL, 1), -EEXIST);
    assert_int_equal(DO(extend, "b", NULL, 3), 0);
    assert_int_equal(lvm_vg_find(&vg, "b")->segments.n, 1); /* joined */
    assert_int_equal(DO(extend, "a", NULL, 5), 0);
    const struct lvm_lv *a = lvm_vg_find(&vg, "a");
    assert_int_equal(a->extents, 5);
    assert_int_equal(a->segments.n, 2);
    assert_int_equal(a->segments.v[1].stripes.v[0].extent, 6);
    assert_int_equal(lvm_vg_free(&vg), 2);
    assert_int_equal(DO(create, "c", NULL, 3), -ENOSPC);
    assert_int_equal(DO(rename_to, "b", "a", 0), -EEXIST);
    assert_int_equal(DO(rename_to, "b", "B", 0), 0);
    assert_int_equal(DO(remove_it, "b", NULL, 0), -ENOENT);
    assert_int_equal(DO(remove_it, "B", NULL, 0), 0);
    assert_int_equal(DO(create, "c", NULL, 5), 0); /* in two pieces */
    assert_int_equal(lvm_vg_find(&vg, "c")->segments.n, 2);
    assert_int_equal(DO(reduce, "a", NULL, 4), 0);
    assert_int_equal(DO(reduce, "a", NULL, 2), 0);
    assert_int_equal(lvm_vg_find(&vg, "a")->segments.n, 1);
    assert_int_equal(DO(reduce, "a", NULL, 2), -EINVAL);
    assert_int_equal(DO(extend, "a", NULL, 2), -EINVAL);
    assert_int_equal(lvm_vg_free(&vg), 3);
    assert_int_equal(vg.seqno, 10);
    assert_int_equal(DO(remove_it, "a", NULL, 0), 0);
    assert_int_equal(DO(remove_it, "c", NULL, 0), 0);
    assert_int_equal(vg.lvs.n, 0);
    assert_null(strstr(buf_str(&text), "logical_volumes"));
    lvm_vg_done(&vg);
    buf_done(&text);
}

static void a_text_never_lies_on_the_valid_one(void **state)
{
    static const struct lvm_area mda = {4096, 512 * 12};
    struct lvm_place now = {0}, next;
    (void)state;
    assert_int_equal(lvm_mda_next(&mda, &now, 512 * 12, &next), -ENOSPC);
    for (unsigned i = 0; i < 40; i++) {
        assert_int_equal(lvm_mda_next(&mda, &now, 512 * (1 + i % 5) - 100, &next), 0);
        assert_true(next.at >= 4096 + 512 && next.at + next.size <= 4096 + 512 * 12);
        assert_true(!now.size || next.at >= now.at + now.size || next.at + next.size <= now.at);
        now = next;
    }
    /* one of lvm2's own that runs over the end */
    now = (struct lvm_place){4096 + 512 * 10, 512 * 4, 4096 + 512 * 12, 4096 + 512, 0};
    assert_int_equal(lvm_mda_next(&mda, &now, 512 * 8, &next), -ENOSPC);
    assert_int_equal(lvm_mda_next(&mda, &now, 512 * 7, &next), 0);
    assert_int_equal(next.at, 4096 + 512 * 3);
}

/* What another kind of volume has is not given away, and what it says of itself stays. */
static void what_is_not_known_stays(void **state)
{
    static const char group[] =
        "VG_x {\nid = \"q\"\nseqno = 4\nstatus = [\"RESIZEABLE\", \"READ\", \"WRITE\"]\n"
        "extent_size = 8192\nphysical_volumes {\npv0 {\nid = \"p\"\ndevice = \"/dev/a\"\n"
        "status = [\"ALLOCATABLE\"]\npe_start = 2048\npe_count = 10\n}\n}\n"
        "logical_volumes {\nm {\nid = \"z\"\nstatus = [\"READ\"]\nsegment_count = 1\nsegment1 {\n"
        "start_extent = 0\nextent_count = 4\ntype = \"mirror\"\nodd = \"a\\\\b\\\"c\"\n"
        "mirrors = [\"pv0\", 0, \"pv0\", 5]\n}\n}\n}\n}\nversion = 1\n";
    struct lvm_vg vg = {0};
    struct buf text;
    (void)state;
    buf_init(&text, 1 << 20);
    buf_puts(&text, group);
    assert_int_equal(DO(create, "a", NULL, 3), -ENOSPC);
    assert_int_equal(DO(create, "a", NULL, 2), 0);
    const struct lvm_lv *a = lvm_vg_find(&vg, "a");
    assert_int_equal(a->segments.v[0].stripes.v[0].extent, 4);
    assert_int_equal(a->segments.v[1].stripes.v[0].extent, 9);
    assert_non_null(strstr(buf_str(&text), "odd = \"a\\\\b\\\"c\""));
    assert_non_null(strstr(buf_str(&text), "mirrors = [\"pv0\", 0, \"pv0\", 5]"));
    lvm_vg_done(&vg);
    buf_done(&text);
}

static const char *refusal(const char *text)
{
    struct lvm_edit e;
    const char *why = "";
    assert_int_equal(lvm_edit_open(view_of(text), &e, &why), -EINVAL);
    return why;
}

#define GROUP(status, more, pvs)                                                                   \
    "g {\nseqno = 1\nstatus = [" status "]\n" more "physical_volumes {\n" pvs "}\n}\n"
#define PV(name) name " {\npe_count = 5\n}\n"
#define FINE     "\"RESIZEABLE\", \"WRITE\""

static void groups_of_others_are_left_alone(void **state)
{
    (void)state;
    assert_string_equal(refusal(GROUP(FINE, "", PV("pv0") PV("pv1"))),
                        "the volume group lies on several devices");
    assert_string_equal(refusal(GROUP(FINE ", \"EXPORTED\"", "", PV("pv0"))),
                        "the volume group is exported, not whole or not to be changed");
    assert_string_equal(refusal(GROUP(FINE, "lock_type = \"sanlock\"\n", PV("pv0"))),
                        "the volume group is locked by a cluster");
    assert_string_equal(refusal("seqno = 1\n"), "there is no volume group in the metadata");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_group),
        cmocka_unit_test(volumes_come_grow_and_go),
        cmocka_unit_test(a_text_never_lies_on_the_valid_one),
        cmocka_unit_test(what_is_not_known_stays),
        cmocka_unit_test(groups_of_others_are_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
