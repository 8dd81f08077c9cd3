/*
 * fault.c: counts the points a run passes and strikes at the one that was asked for.
 */
#include "task/fault.h"

#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/log.h"
#include "base/str.h"

static struct mutex hold_lock = MUTEX_INIT(LOCK_LEAF);
static char held[128]; /* under hold_lock */
static atomic_bool holding, reached;
static atomic_uint points, marks;
static atomic_uint fail_nth, die_nth;
static char struck[128];
static void (*death_fn)(const char *name, void *arg);
static void *death_arg;

static void die_at(const char *name)
{
    snprintf(struck, sizeof(struck), "%s", name);
    if (death_fn)
        death_fn(name, death_arg);
    else
        _exit(FAULT_EXIT);
}

void fault_mark(const char *name)
{
    unsigned n = atomic_fetch_add(&marks, 1) + 1;
    if (n == atomic_load(&die_nth))
        die_at(name);
}

struct err *fault_point(const char *name)
{
    fault_mark(name);
    unsigned n = atomic_fetch_add(&points, 1) + 1;
    if (n != atomic_load(&fail_nth))
        return NULL;
    snprintf(struck, sizeof(struck), "%s", name);
    return err_internal("fault injected at '%s'", name);
}

void fault_hold(const char *name)
{
    mutex_lock(&hold_lock);
    snprintf(held, sizeof(held), "%s", name ? name : "");
    reached = false;
    holding = name != NULL;
    mutex_unlock(&hold_lock);
}

bool fault_is_held(const char *name)
{
    if (!atomic_load_explicit(&holding, memory_order_relaxed))
        return false;
    mutex_lock(&hold_lock);
    bool here = holding && str_eq(held, name);
    if (here)
        reached = true;
    mutex_unlock(&hold_lock);
    return here;
}

bool fault_is_reached(void)
{
    return reached;
}

void fault_clear(void)
{
    points = marks = fail_nth = die_nth = 0;
    struck[0] = '\0';
    death_fn = NULL;
}

void fault_fail_nth(unsigned n)
{
    fail_nth = n;
}

void fault_die_nth(unsigned n)
{
    die_nth = n;
}

void fault_on_death(void (*fn)(const char *name, void *arg), void *arg)
{
    death_fn = fn;
    death_arg = arg;
}

unsigned fault_count(void)
{
    return points;
}

unsigned fault_count_marks(void)
{
    return marks;
}

const char *fault_last(void)
{
    return struck;
}
