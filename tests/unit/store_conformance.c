/* store_conformance.c: see store_conformance.h. */
#include "store_conformance.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/vec.h"
#include "state/db.h"
#include "gen/typed.h"
#include "state/txn.h"

static const struct conformance *kind;

static struct store *open_as(enum store_mode mode)
{
    struct store *s = NULL;
    struct err *e = kind->open(mode, &s);
    if (e)
        fail_msg("%s", err_text(e));
    return s;
}

static int clear(void **state)
{
    (void)state;
    kind->clear();
    return 0;
}

static struct store_row row_of(const char *ref, uint64_t seq, uint64_t generation, const char *data)
{
    return (struct store_row){.cls = "VM",
                              .ref = ref,
                              .uuid = "u",
                              .seq = seq,
                              .created = 1,
                              .modified = generation,
                              .data = view_of(data)};
}

static bool commit_rows(struct store *s, uint64_t from, const struct store_row *rows, size_t n,
                        const struct store_key *drops, size_t n_drops)
{
    struct store_batch b = {.from = from,
                            .head = {from + 1, 7},
                            .puts = rows,
                            .n_puts = n,
                            .drops = drops,
                            .n_drops = n_drops};
    bool lost = false;
    struct err *e = s->ops->commit(s, &b, &lost);
    if (e)
        fail_msg("%s", err_text(e));
    return !lost;
}

/* What was given, as "ref:data " pieces. */
struct got {
    char text[4000];
    size_t n;
    uint64_t last_seq, last_generation, bytes;
};

static struct err *take(void *arg, const struct store_row *r)
{
    struct got *g = arg;
    size_t used = strlen(g->text);
    if (used < 3000)
        snprintf(g->text + used, sizeof(g->text) - used, "%s:%s%.*s ", r->ref,
                 r->deleted_at ? "X" : "", (int)(r->data.size > 100 ? 100 : r->data.size),
                 r->data.p);
    g->n++;
    g->last_seq = r->seq;
    g->last_generation = r->modified;
    g->bytes += r->data.size;
    return NULL;
}

static void load_all(struct store *s, struct got *ret, struct store_head *head)
{
    *ret = (struct got){0};
    struct err *e = s->ops->load(s, take, ret, head);
    if (e)
        fail_msg("%s", err_text(e));
}

static void an_empty_store_has_generation_zero(void **state)
{
    (void)state;
    _cleanup_(store_closep) struct store *s = open_as(STORE_WRITE);
    struct got g;
    struct store_head head = {9, 9};
    load_all(s, &g, &head);
    assert_int_equal(g.n, 0);
    assert_int_equal(head.generation, 0);
    assert_int_equal(head.floor, 0);
    assert_true(s->epoch > 0);
}

static void what_was_committed_is_loaded_in_order(void **state)
{
    (void)state;
    struct store *s = open_as(STORE_WRITE);
    const struct store_row first[] = {row_of("b", 2, 1, "(('k' 'ü\n\"\\'\\''))"),
                                      row_of("a", 1, 1, "")};
    assert_true(commit_rows(s, 0, first, 2, NULL, 0));
    struct store_row mark = row_of("b", 2, 2, "");
    mark.deleted_at = 5;
    const struct store_row second[] = {row_of("c", 3, 2, "(new)"), mark};
    assert_true(commit_rows(s, 1, second, 2, NULL, 0));
    struct got g;
    struct store_head head;
    load_all(s, &g, &head);
    assert_string_equal(g.text, "a: b:X c:(new) ");
    assert_int_equal(head.generation, 2);
    assert_int_equal(head.floor, 7);
    const struct store_key drop = {"VM", "b"};
    const struct store_row third[] = {row_of("a", 1, 3, "(('k' 'ü\n\"\\'\\''))")};
    assert_true(commit_rows(s, 2, third, 1, &drop, 1));
    store_close(s);
    s = open_as(STORE_WRITE);
    load_all(s, &g, &head);
    assert_string_equal(g.text, "a:(('k' 'ü\n\"\\'\\'')) c:(new) ");
    assert_int_equal(head.generation, 3);
    store_close(s);
}

static void a_later_writer_ends_an_earlier(void **state)
{
    (void)state;
    _cleanup_(store_closep) struct store *a = open_as(STORE_WRITE);
    const struct store_row one = row_of("a", 1, 1, "one"), two = row_of("a", 1, 2, "two");
    assert_true(commit_rows(a, 0, &one, 1, NULL, 0));
    _cleanup_(store_closep) struct store *b = open_as(STORE_WRITE);
    assert_true(b->epoch > a->epoch);
    assert_false(commit_rows(a, 1, &two, 1, NULL, 0));
    struct got g;
    struct store_head head;
    load_all(b, &g, &head);
    assert_string_equal(g.text, "a:one ");
    assert_int_equal(head.generation, 1);
    assert_true(commit_rows(b, 1, &two, 1, NULL, 0));
}

static void a_commit_from_elsewhere_is_lost_whole(void **state)
{
    (void)state;
    _cleanup_(store_closep) struct store *s = open_as(STORE_WRITE);
    const struct store_row one = row_of("a", 1, 1, "one");
    struct store_batch b = {.from = 5, .head = {6, 0}, .puts = &one, .n_puts = 1};
    bool lost = false;
    assert_null(s->ops->commit(s, &b, &lost));
    assert_true(lost);
    struct got g;
    struct store_head head;
    load_all(s, &g, &head);
    assert_int_equal(g.n, 0);
    assert_true(commit_rows(s, 0, &one, 1, NULL, 0));
}

static void the_largest_batch_fits(void **state)
{
    (void)state;
    enum { ROWS = 2000, SIZE = 2 * TXN_MAX_BYTES / ROWS };
    _cleanup_(store_closep) struct store *s = open_as(STORE_WRITE);
    assert_true(s->max_rows >= ROWS && s->max_bytes >= (size_t)ROWS * SIZE);
    VEC(struct store_row) rows = {0};
    static char refs[ROWS][50], data[SIZE + 1];
    memset(data, '\'', SIZE);
    for (unsigned i = 0; i < ROWS; i++) {
        snprintf(refs[i], sizeof(refs[i]), "OpaqueRef:%036u", i);
        vec_push(&rows, row_of(refs[i], i + 1, 1, data));
    }
    assert_true(commit_rows(s, 0, rows.v, rows.n, NULL, 0));
    vec_done(&rows);
    struct got g;
    struct store_head head;
    load_all(s, &g, &head);
    assert_int_equal(g.n, ROWS);
    assert_int_equal(g.last_seq, ROWS);
    assert_int_equal(g.bytes, (uint64_t)ROWS * SIZE);
}

static struct err *refuse(void *arg, const struct store_row *r)
{
    (void)r;
    ++*(int *)arg;
    return err_make("VALUE_NOT_SUPPORTED", __FILE__, __LINE__, 0);
}

static void an_error_of_the_reader_ends_loading(void **state)
{
    (void)state;
    _cleanup_(store_closep) struct store *s = open_as(STORE_WRITE);
    const struct store_row rows[] = {row_of("a", 1, 1, "1"), row_of("b", 2, 1, "2")};
    assert_true(commit_rows(s, 0, rows, 2, NULL, 0));
    struct store_head head;
    int calls = 0;
    _cleanup_(err_freep) struct err *e = s->ops->load(s, refuse, &calls, &head);
    assert_true(err_is(e, "VALUE_NOT_SUPPORTED"));
    assert_int_equal(calls, 1);
}

static void follow_gives_changes_in_order(void **state)
{
    (void)state;
    _cleanup_(store_closep) struct store *s = open_as(STORE_WRITE);
    const struct store_row first[] = {row_of("a", 1, 1, "1"), row_of("b", 2, 1, "1")};
    assert_true(commit_rows(s, 0, first, 2, NULL, 0));
    struct store_row mark = row_of("b", 2, 3, "");
    mark.deleted_at = 5;
    const struct store_row second = row_of("c", 3, 2, "2");
    assert_true(commit_rows(s, 1, &second, 1, NULL, 0));
    assert_true(commit_rows(s, 2, &mark, 1, NULL, 0));
    _cleanup_(store_closep) struct store *f = open_as(STORE_FOLLOW);
    assert_int_equal(f->epoch, 0);
    uint64_t generation = 0;
    struct got g = {0};
    while (generation < 3)
        assert_null(f->ops->follow(f, generation ? generation : 1, clock_now() + 10 * USEC_PER_SEC,
                                   take, &g, &generation));
    assert_string_equal(g.text, "c:2 b:X ");
    assert_int_equal(generation, 3);
    g = (struct got){0};
    assert_null(f->ops->follow(f, 3, clock_now() + 20000, take, &g, &generation));
    assert_int_equal(g.n, 0);
    assert_int_equal(generation, 3);
}

struct late {
    struct store *store;
    pthread_barrier_t *barrier;
};

static void *commit_late(void *arg)
{
    struct late *l = arg;
    pthread_barrier_wait(l->barrier);
    const struct store_row row = row_of("a", 1, 1, "late");
    struct store_batch b = {.from = 0, .head = {1, 0}, .puts = &row, .n_puts = 1};
    bool lost = false;
    err_free(l->store->ops->commit(l->store, &b, &lost));
    return NULL;
}

static void follow_wakes_for_a_commit(void **state)
{
    (void)state;
    _cleanup_(store_closep) struct store *s = open_as(STORE_WRITE);
    _cleanup_(store_closep) struct store *f = open_as(STORE_FOLLOW);
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, 2);
    struct late late = {s, &barrier};
    pthread_t thread;
    pthread_create(&thread, NULL, commit_late, &late);
    pthread_barrier_wait(&barrier);
    struct got g = {0};
    uint64_t generation = 0;
    usec_t start = clock_now();
    assert_null(f->ops->follow(f, 0, start + 20 * USEC_PER_SEC, take, &g, &generation));
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&barrier);
    assert_string_equal(g.text, "a:late ");
    assert_int_equal(generation, 1);
    assert_true(clock_now() - start < 10 * USEC_PER_SEC);
}

static void compacting_loses_nothing(void **state)
{
    (void)state;
    _cleanup_(store_closep) struct store *s = open_as(STORE_WRITE);
    for (uint64_t i = 0; i < 20; i++) {
        const struct store_row row = row_of("a", 1, i + 1, "value");
        assert_true(commit_rows(s, i, &row, 1, NULL, 0));
    }
    assert_null(s->ops->compact(s));
    struct got g;
    struct store_head head;
    load_all(s, &g, &head);
    assert_string_equal(g.text, "a:value ");
    assert_int_equal(head.generation, 20);
    const struct store_row row = row_of("a", 1, 21, "after");
    assert_true(commit_rows(s, 20, &row, 1, NULL, 0));
}

static struct err *add_vms(struct txn *t, void *arg)
{
    const int *n = arg;
    for (int i = 0; i < *n; i++)
        rstr_set(&txn_add_VM(t)->name_label, "named");
    return NULL;
}

static void a_database_finds_its_rows_again(void **state)
{
    (void)state;
    int n = 5;
    for (int round = 1; round <= 3; round++) {
        struct db *db = NULL;
        struct db_config config = {.store = open_as(STORE_WRITE)};
        assert_null(db_open(&config, &db));
        assert_null(db_write(db, "test", add_vms, &n));
        struct snap *s = snap_get(db);
        struct val *named = snap_by_name(s, CLASS_VM, "named");
        assert_int_equal(val_count(named), round * n);
        assert_int_equal(snap_generation(s), round);
        assert_int_equal(db_epoch(db), config.store->epoch);
        val_unref(named);
        snap_unref(s);
        db_close(db);
    }
}

#define CASE(t) cmocka_unit_test_setup_teardown(t, clear, clear)

int store_conformance_run(const char *name, const struct conformance *c)
{
    const struct CMUnitTest tests[] = {
        CASE(an_empty_store_has_generation_zero),
        CASE(what_was_committed_is_loaded_in_order),
        CASE(a_later_writer_ends_an_earlier),
        CASE(a_commit_from_elsewhere_is_lost_whole),
        CASE(the_largest_batch_fits),
        CASE(an_error_of_the_reader_ends_loading),
        CASE(follow_gives_changes_in_order),
        CASE(follow_wakes_for_a_commit),
        CASE(compacting_loses_nothing),
        CASE(a_database_finds_its_rows_again),
    };
    kind = c;
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}
