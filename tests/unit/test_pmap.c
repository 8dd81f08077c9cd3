/* Tests of base/pmap and base/lock: versions stay what they were, compared with a plain array. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/pmap.h"
#include "base/rstr.h"

#define KEYS 4096

struct item {
    unsigned refs;
    uint64_t n;
};
static int alive;

static struct item *item_new(uint64_t n)
{
    struct item *i = mem_new(struct item);
    i->refs = 1;
    i->n = n;
    alive++;
    return i;
}

static void *item_ref(const void *p)
{
    struct item *i = (struct item *)(uintptr_t)p;
    i->refs++;
    return i;
}

static void item_unref(const void *p)
{
    struct item *i = (struct item *)(uintptr_t)p;
    if (--i->refs)
        return;
    alive--;
    free(i);
}

static const struct pmap_type item_type = {item_ref, item_unref};

/* Spread or dense keys, in an order that only the low bits decide. */
static uint64_t key_of(unsigned i, bool dense)
{
    return dense ? i + 1 : (i + 1) * 0x9e3779b97f4a7c15u;
}

static void check(const struct pmap *m, const uint64_t *model, bool dense)
{
    size_t n = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        const struct item *item = pmap_get(m, key_of(i, dense), NULL);
        assert_int_equal(item ? item->n : 0, model[i]);
        n += model[i] != 0;
    }
    assert_int_equal(pmap_count(m), n);
}

static void play(bool dense)
{
    uint64_t model[KEYS] = {0}, old_model[KEYS];
    struct pmap *m = NULL, *old = NULL;
    srandom(7);
    for (unsigned round = 0; round < 40; round++) {
        memcpy(old_model, model, sizeof(model));
        pmap_unref(old);
        old = pmap_ref(m);
        for (unsigned n = 0; n < 600; n++) {
            unsigned i = (unsigned)random() % KEYS;
            bool there = model[i] != 0;
            if (random() % 5 < (round < 25 ? 3 : 1)) {
                model[i] = (uint64_t)random() + 1;
                assert_int_equal(
                    pmap_set(&m, &item_type, key_of(i, dense), NULL, item_new(model[i])), !there);
            } else {
                model[i] = 0;
                assert_int_equal(pmap_del(&m, key_of(i, dense), NULL), there);
            }
        }
        check(m, model, dense);
        check(old, old_model, dense);
    }
    for (unsigned i = 0; i < KEYS; i++)
        pmap_del(&m, key_of(i, dense), NULL);
    assert_null(m);
    check(old, old_model, dense);
    pmap_unref(old);
    assert_int_equal(alive, 0);
}

static void versions_stay_what_they_were(void **state)
{
    (void)state;
    play(true);
    play(false);
}

static void numbers_are_walked_in_order(void **state)
{
    (void)state;
    static const uint64_t keys[] = {0, 1, 31, 32, 33, 1023, 1024, 1u << 20, 1ull << 60, UINT64_MAX};
    struct pmap *m = NULL;
    for (size_t i = ARRAY_LEN(keys); i--;)
        pmap_set(&m, &item_type, keys[i], NULL, item_new(keys[i]));
    uint64_t at = 0;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        assert_non_null(pmap_ceil(m, at, &at));
        assert_true(at == keys[i]);
        if (i) {
            assert_non_null(pmap_floor(m, at - 1, &at));
            assert_true(at == keys[i - 1]);
        }
        at = keys[i] + 1;
    }
    assert_null(pmap_ceil(NULL, 0, &at));
    pmap_del(&m, UINT64_MAX, NULL);
    assert_null(pmap_ceil(m, (1ull << 60) + 1, &at));
    pmap_del(&m, 0, NULL);
    assert_null(pmap_floor(m, 0, &at));
    pmap_unref(m);
    assert_int_equal(alive, 0);
}

static void texts_with_one_hash_are_told_apart(void **state)
{
    (void)state;
    struct pmap *m = NULL;
    const char *keys[3] = {rstr_new("a"), rstr_new("b"), rstr_new("c")};
    for (uint64_t i = 0; i < 3; i++)
        assert_true(pmap_set(&m, &item_type, 42, keys[i], item_new(i)));
    assert_false(pmap_set(&m, &item_type, 42, keys[1], item_new(9)));
    struct pmap *old = pmap_ref(m);
    assert_true(pmap_del(&m, 42, "a"));
    assert_false(pmap_del(&m, 42, "a"));
    assert_int_equal(((struct item *)pmap_get(m, 42, "b"))->n, 9);
    assert_int_equal(((struct item *)pmap_get(m, 42, "c"))->n, 2);
    assert_int_equal(((struct item *)pmap_get(old, 42, "a"))->n, 0);
    assert_int_equal(pmap_count(m), 2);
    assert_int_equal(pmap_count(old), 3);
    pmap_unref(m);
    pmap_unref(old);
    assert_int_equal(alive, 0);
    for (size_t i = 0; i < 3; i++)
        rstr_unref(keys[i]);
}

static void the_witness_stops_disorder(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        struct mutex inner = MUTEX_INIT(LOCK_LEAF), outer = MUTEX_INIT(LOCK_DB);
        (void)!freopen("/dev/null", "w", stderr);
        signal(SIGABRT, SIG_DFL);
        mutex_lock(&outer);
        mutex_lock(&inner);
        mutex_unlock(&outer);
        mutex_lock(&outer);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_stay_what_they_were),
        cmocka_unit_test(numbers_are_walked_in_order),
        cmocka_unit_test(texts_with_one_hash_are_told_apart),
        cmocka_unit_test(the_witness_stops_disorder),
    };
    return cmocka_run_group_tests_name("pmap", tests, NULL, NULL);
}
