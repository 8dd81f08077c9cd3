/*
 * once.c: verbs queue up by what they work on, and each is executed once.
 *
 * Called by the wrappers in host.c and sr.c on operation threads. The registry keeps the results of
 * the last ONCE_MAX verbs; an operation that repeats a step after that many others has long been
 * forgotten by everybody. The mutex is the host's and a leaf: nothing slow happens under it.
 */
#include <string.h>

#include "base/str.h"
#include "base/vec.h"
#include "host/host_impl.h"
#include "task/fault.h"

#define ONCE_MAX 4096

struct once_item {
    char *key;
    struct err *result;
};

struct once {
    uint64_t epoch; /* the newest seen */
    struct once_item items[ONCE_MAX];
    unsigned next; /* where the oldest is replaced */
    VEC(char *) busy;
};

struct once *once_new(void)
{
    return mem_new(struct once);
}

void once_free(struct once *o)
{
    if (!o)
        return;
    for (unsigned i = 0; i < ONCE_MAX; i++) {
        free(o->items[i].key);
        err_free(o->items[i].result);
    }
    vec_done(&o->busy);
    free(o);
}

static struct once_item *find(struct once *o, const char *key)
{
    /* The newest first: a repetition comes soon. */
    for (unsigned n = 1; key && n <= ONCE_MAX; n++) {
        struct once_item *item = &o->items[(o->next + ONCE_MAX - n) % ONCE_MAX];
        if (!item->key)
            break;
        if (str_eq(item->key, key))
            return item;
    }
    return NULL;
}

static bool is_busy(struct once *o, const char *subject)
{
    vec_each (s, &o->busy)
        if (str_eq(*s, subject))
            return true;
    return false;
}

static bool may_run(struct turn *t, struct once *o, uint64_t epoch)
{
    if (!t->key)
        return true; /* the house's own */
    struct once_item *item = find(o, t->key);
    if (item) {
        t->result = item->result ? err_copy(item->result) : NULL;
        return false;
    }
    if (epoch < o->epoch) {
        t->result = err_internal("verb of epoch %llu refused: epoch is %llu",
                                 (unsigned long long)epoch, (unsigned long long)o->epoch);
        return false;
    }
    o->epoch = epoch;
    return true;
}

bool turn_begin(struct turn *t, struct host *h, const struct verb *v, const char *what,
                const char *subject)
{
    t->host = h;
    if (v->id.op && v->id.op[0])
        t->key = mem_printf("%s %u %u %s %s", v->id.op, v->id.step, v->id.serial, what,
                            subject ? subject : "");
    t->subject = subject ? mem_strdup(subject) : NULL;
    _cleanup_(freep) char *place = mem_printf("host/%s", what);
    t->result = fault_point(place);
    if (t->result)
        return false;
    pthread_mutex_lock(&h->lock);
    while (t->subject && is_busy(h->once, t->subject))
        pthread_cond_wait(&h->changed, &h->lock);
    t->begun = may_run(t, h->once, v->id.epoch);
    if (t->begun && t->subject)
        vec_push(&h->once->busy, t->subject);
    pthread_mutex_unlock(&h->lock);
    return t->begun;
}

void turn_done(struct turn *t, struct err *e)
{
    t->result = e;
    if (!t->key)
        return;
    pthread_mutex_lock(&t->host->lock);
    struct once *o = t->host->once;
    struct once_item *item = &o->items[o->next];
    o->next = (o->next + 1) % ONCE_MAX;
    free(item->key);
    err_free(item->result);
    item->key = steal(&t->key);
    item->result = e ? err_copy(e) : NULL;
    pthread_mutex_unlock(&t->host->lock);
}

struct err *turn_result(struct turn *t)
{
    return steal(&t->result);
}

void turn_end(struct turn *t)
{
    if (t->begun && t->subject) {
        pthread_mutex_lock(&t->host->lock);
        struct once *o = t->host->once;
        for (size_t i = 0; i < o->busy.n; i++) {
            if (o->busy.v[i] == t->subject) {
                vec_remove(&o->busy, i);
                break;
            }
        }
        pthread_cond_broadcast(&t->host->changed);
        pthread_mutex_unlock(&t->host->lock);
    }
    free(t->key);
    free(t->subject);
    err_free(t->result);
}
