/*
 * lab_test.h: what unit tests of operations share: a lab of their own per test, with one VM, and
 * short words for what they expect.
 *
 *     cmocka_unit_test_setup_teardown(story, lab_test_begin, lab_test_end)
 *
 * The lab is `w`. At the end of each test nothing may be left over (lab_check).
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lab.h"

#define NOBODY "OpaqueRef:nobody"
#ifndef MIB
#define MIB (INT64_C(1) << 20)
#endif

extern struct lab w;
extern char lab_dir[64]; /* where it lives, to open it again */

int lab_test_begin(void **state);
int lab_test_end(void **state);

/* Both own e. */
void ok(struct err *e);
void refused(struct err *e, const char *code);
/* The error is "CODE param param". */
void expect(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The VM's record as it is; valid until the next call. */
const struct rec_VM *now(void);
/* Its guest, as the hypervisor sees it. */
struct guest_info guest(void);
/* What its guest runs by, as the hypervisor has it; the caller's. */
struct boot *guest_boot(void);
void guest_does(enum sim_event what, int64_t number);
/* The first row of the class that is wanted; an rstr of the caller's. */
const char *ref_of(int cls, bool (*wanted)(const struct row *row));
unsigned alerts(const char *name);
/* Whether an operation is listed in allowed_operations of the VM. */
bool allows(const char *operation);

#define SET(message, ...) lab_call(&w, VM_set_##message, w.vm, .self = w.vm, __VA_ARGS__)
#define VM(message, ...)  lab_call(&w, VM_##message, w.vm, .vm = w.vm, ##__VA_ARGS__)
#define START()           ok(VM(start))
