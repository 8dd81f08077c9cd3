/* trace.c: the queue of ended spans, see trace.h. The mutex is a leaf and guards the queue alone.
 */
#include "task/trace.h"

#include <stdatomic.h>
#include <string.h>

#include "base/lock.h"
#include "base/str.h"

static const char *const part_names[TRACE_PARTS] = {"xapi", "xenopsd", "smapi"};

static atomic_uint wanted;
static struct mutex lock = MUTEX_INIT(LOCK_LEAF);
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct trace_done *first, **last = &first;
static size_t n_queued;
static uint64_t n_lost;
static bool woken;

const char *trace_part_name(enum trace_part part)
{
    return part_names[part];
}

bool trace_part_find(const char *name, enum trace_part *ret)
{
    for (unsigned i = 0; i < TRACE_PARTS; i++) {
        if (str_eq(part_names[i], name)) {
            *ret = (enum trace_part)i;
            return true;
        }
    }
    return false;
}

/* ---- identities ---- */

static bool is_zero(const uint8_t *p, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (p[i])
            return false;
    return true;
}

bool trace_id_is_set(const struct trace_id *id)
{
    return id && !is_zero(id->trace, sizeof(id->trace));
}

static bool parse_bytes(const char *text, uint8_t *out, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < 2 * size; i++) {
        const char *d = text[i] ? strchr(digits, text[i]) : NULL;
        if (!d)
            return false;
        out[i / 2] = (uint8_t)(out[i / 2] << 4 | (d - digits));
    }
    return true;
}

bool trace_id_parse(const char *text, struct trace_id *ret)
{
    struct trace_id id = {0};
    if (strlen(text) != 55 || !str_starts(text, "00-") || text[35] != '-' || text[52] != '-' ||
        !parse_bytes(text + 3, id.trace, sizeof(id.trace)) ||
        !parse_bytes(text + 36, id.span, sizeof(id.span)) || !trace_id_is_set(&id))
        return false;
    *ret = id;
    return true;
}

void trace_id_new(struct trace_id *ret)
{
    *ret = (struct trace_id){0};
    if (trace_is_wanted())
        str_random(ret->trace, sizeof(ret->trace));
}

/* ---- spans ---- */

void trace_want(unsigned parts)
{
    atomic_store_explicit(&wanted, parts, memory_order_relaxed);
}

bool trace_is_wanted(void)
{
    return atomic_load_explicit(&wanted, memory_order_relaxed) != 0;
}

static bool is_wanted(enum trace_part part)
{
    return atomic_load_explicit(&wanted, memory_order_relaxed) >> part & 1;
}

void trace_begin(struct trace_span *s, enum trace_part part, const struct trace_id *parent)
{
    s->on = is_wanted(part);
    if (!s->on)
        return;
    *s = (struct trace_span){.on = true, .part = part, .wall = clock_wall(), .began = clock_now()};
    if (trace_id_is_set(parent)) {
        memcpy(s->id.trace, parent->trace, sizeof(s->id.trace));
        memcpy(s->parent, parent->span, sizeof(s->parent));
    } else {
        str_random(s->id.trace, sizeof(s->id.trace));
    }
    str_random(s->id.span, sizeof(s->id.span));
}

/* Takes it over. */
static void queue(struct trace_done *d)
{
    mutex_lock(&lock);
    bool fits = n_queued < TRACE_QUEUE_MAX;
    if (fits) {
        *last = d;
        last = &d->next;
        n_queued++;
        pthread_cond_signal(&changed);
    } else {
        n_lost++;
    }
    mutex_unlock(&lock);
    if (!fits)
        trace_done_free(d);
}

void trace_end(struct trace_span *s, const char *name, const char *task, const struct err *e)
{
    if (!s->on)
        return;
    s->on = false;
    struct trace_done *d = mem_new(struct trace_done);
    d->span = *s;
    d->took = clock_now() - s->began;
    d->name = mem_strdup(name);
    d->task = mem_strdup(task);
    d->error = e ? mem_strdup(err_code(e)) : NULL;
    queue(d);
}

/* ---- the one who hands them on ---- */

void trace_done_free(struct trace_done *list)
{
    while (list) {
        struct trace_done *next = list->next;
        free(list->name);
        free(list->task);
        free(list->error);
        free(list);
        list = next;
    }
}

struct trace_done *trace_take(uint64_t *ret_lost)
{
    mutex_guard(&lock);
    struct trace_done *list = first;
    *ret_lost = n_lost;
    first = NULL;
    last = &first;
    n_queued = 0;
    n_lost = 0;
    return list;
}

void trace_wait(void)
{
    mutex_guard(&lock);
    while (!first && !woken)
        cond_wait(&changed, &lock);
    woken = false;
}

void trace_wake(void)
{
    mutex_guard(&lock);
    woken = true;
    pthread_cond_signal(&changed);
}
