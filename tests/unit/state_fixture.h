/* state_fixture.h: a database over a disk in memory, and transactions that tests are made of. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "gen/typed.h"
#include "state/store.h"
#include "state/watch.h"

struct fixture {
    struct store_disk *disk;
    struct db *db;
    bool threads;
};

/* Refs and texts that the transactions work with. */
struct ask {
    const char *vm, *vdi, *vbd, *name;
    char *made; /* freed by the test */
};

void open_db(struct fixture *f);
void restart(struct fixture *f);
int setup(void **state);
int setup_threads(void **state);
int teardown(void **state);
/* Transactions; arg is a struct ask. */
struct err *make_vm(struct txn *t, void *arg);
struct err *make_vdi(struct txn *t, void *arg);
struct err *make_vbd(struct txn *t, void *arg);
struct err *rename_vm(struct txn *t, void *arg);
struct err *delete_vm(struct txn *t, void *arg);
struct err *delete_vdi(struct txn *t, void *arg);
struct err *allow_start(struct txn *t, void *arg);
/* Writes, and expects success, or an error of that code. */
void write_ok(struct fixture *f, txn_fn fn, struct ask *a);
void write_fails(struct fixture *f, txn_fn fn, struct ask *a, const char *code);
const struct rec_VM *vm_of(struct snap *s, const char *ref);

#define WRITE(f, fn, ...) write_ok((f), (fn), &(struct ask){__VA_ARGS__})

#define CASE(t)           cmocka_unit_test_setup_teardown(t, setup, teardown)
#define THREADED(t)       cmocka_unit_test_setup_teardown(t, setup_threads, teardown)
