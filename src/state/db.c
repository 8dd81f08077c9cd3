/*
 * db.c: see db.h and db_impl.h. The threads core and store, the queue between them, publication.
 */
#define LOG_MODULE "state"
#include "state/db_impl.h"

#include <assert.h>
#include <inttypes.h>

#include "base/log.h"
#include "base/turn.h"

#define COMPACT_EVERY 50000
#define DEAD_MANY     32
#define DEAD_WAIT_US  USEC_PER_SEC

struct post {
    struct post *next;
    const char *name;
    txn_fn fn;
    void *arg;
    db_done_fn done;     /* NULL: somebody waits */
    pthread_cond_t cond; /* of the one who waits */
    bool finished;
    struct err *err;
    uint64_t generation;
};

/* What a batch does with one row of the store; the last word counts. */
struct item {
    struct put put;
    const struct mark *drop; /* counted; not NULL: the row is dropped */
};

struct batch {
    struct batch *next;
    struct post *posts, **posts_end;
    struct snap *root; /* after the last of them; NULL if none changed anything */
    bool durable, in_flight;
    uint64_t from;
    VEC(struct item) items;
    struct pmap *places; /* ref -> place in items, plus one */
    size_t bytes;
};

/* --- dead roots --- */

/* Leaves a root that nobody holds to core; called with the lock held. */
static void bury(struct db *db, struct snap *s)
{
    s->next_dead = db->dead;
    db->dead = s;
    if (++db->n_dead == DEAD_MANY)
        pthread_cond_signal(&db->core_wake);
}

static void free_dead(struct snap *s)
{
    for (struct snap *next; s; s = next) {
        next = s->next_dead;
        root_free(s);
    }
}

/* --- batches --- */

static void item_done(struct item *i)
{
    row_unref(i->put.row);
    mark_unref(i->put.mark);
    mark_unref(i->drop);
    free(i->put.data);
}

static struct batch *batch_new(uint64_t from)
{
    struct batch *b = mem_new(struct batch);
    b->posts_end = &b->posts;
    b->from = from;
    return b;
}

static void batch_free(struct batch *b)
{
    vec_each (i, &b->items)
        item_done(i);
    vec_done(&b->items);
    pmap_unref(b->places);
    snap_unref(b->root);
    free(b);
}

static void batch_set(struct batch *b, const char *ref, struct item item)
{
    static const struct pmap_type plain = {NULL, NULL};
    uint64_t hash = pmap_hash(ref);
    void *place = pmap_get(b->places, hash, ref);
    b->bytes += item.put.data_size;
    if (place) {
        struct item *old = &b->items.v[(uintptr_t)place - 1];
        b->bytes -= old->put.data_size;
        item_done(old);
        *old = item;
        return;
    }
    vec_push(&b->items, item);
    pmap_set(&b->places, &plain, hash, ref, (void *)(uintptr_t)b->items.n);
}

/* Takes over what a transaction made. */
static void batch_add(struct batch *b, struct txn_result *r)
{
    vec_each (p, &r->puts)
        batch_set(b, p->row ? p->row->ref : p->mark->ref, (struct item){.put = *p});
    vec_each (m, &r->drops)
        batch_set(b, (*m)->ref, (struct item){.drop = *m});
    r->puts.n = r->drops.n = 0;
    b->durable |= r->durable;
    if (r->root) {
        snap_unref(b->root);
        b->root = snap_ref(r->root);
    }
}

static bool batch_has_room(const struct db *db, const struct batch *b, const struct txn_result *r)
{
    const struct store *s = db->config.store;
    if (b->in_flight)
        return false;
    return !s || (b->items.n + r->puts.n + r->drops.n <= s->max_rows &&
                  b->bytes + r->bytes <= s->max_bytes);
}

static struct store_row store_row_of(const struct snap *s, const struct put *p)
{
    const struct mark *m = p->mark;
    if (m)
        return (struct store_row){.cls = s->tables[m->cls]->cls->name,
                                  .ref = m->ref,
                                  .uuid = "",
                                  .seq = m->seq,
                                  .created = m->created,
                                  .modified = m->deleted,
                                  .deleted_at = m->at};
    const struct row *r = p->row;
    const char *uuid = row_uuid(r);
    return (struct store_row){.cls = r->cls->name,
                              .ref = r->ref,
                              .uuid = uuid ? uuid : "",
                              .seq = r->seq,
                              .created = r->created,
                              .modified = r->modified,
                              .data = {p->data, p->data_size}};
}

static struct err *batch_commit(struct db *db, struct batch *b, bool *ret_lost)
{
    VEC(struct store_row) puts = {0};
    VEC(struct store_key) drops = {0};
    vec_each (i, &b->items) {
        if (i->drop)
            vec_push(&drops,
                     ((struct store_key){b->root->tables[i->drop->cls]->cls->name, i->drop->ref}));
        else
            vec_push(&puts, store_row_of(b->root, &i->put));
    }
    struct store_batch sb = {.from = b->from,
                             .head = {b->root->token.gen, b->root->floor_gen},
                             .puts = puts.v,
                             .n_puts = puts.n,
                             .drops = drops.v,
                             .n_drops = drops.n};
    struct err *e = db->config.store->ops->commit(db->config.store, &sb, ret_lost);
    vec_done(&puts);
    vec_done(&drops);
    return e;
}

/* --- answering and publishing --- */

static void post_finish(struct db *db, struct post *p, struct err *e, uint64_t generation)
{
    if (p->done) {
        p->done(p->arg, e, generation);
        free(p);
        return;
    }
    mutex_guard(&db->lock);
    p->err = e;
    p->generation = generation;
    p->finished = true;
    pthread_cond_signal(&p->cond);
}

static uint64_t published_generation(struct db *db)
{
    mutex_guard(&db->root_lock);
    return db->root->token.gen;
}

static void publish(struct db *db, struct snap *root)
{
    _cleanup_(snap_unrefp) struct snap *now = snap_ref(root);
    mutex_lock(&db->root_lock);
    struct snap *old = db->root;
    db->root = snap_ref(now);
    mutex_unlock(&db->root_lock);
    watch_published(db, now);
    snap_unref(old);
}

/* The first batch, from now on in flight. It stays in the list, so that core does not overtake it
 * with something volatile; without threads it is taken out, as what is called back may write. */
static struct batch *batch_take(struct db *db)
{
    mutex_guard(&db->lock);
    struct batch *b = db->batches;
    if (b)
        b->in_flight = true;
    if (b && db->config.single)
        db->batches = b->next;
    return b;
}

static void batch_succeed(struct db *db, struct batch *b)
{
    if (b->root)
        publish(db, b->root);
    uint64_t generation = published_generation(db);
    for (struct post *p = b->posts, *next; p; p = next) {
        next = p->next;
        post_finish(db, p, steal(&p->err), generation);
    }
    if (!db->config.single) {
        mutex_guard(&db->lock);
        db->batches = b->next;
    }
    batch_free(b);
}

static void batch_fail(struct db *db, struct batch *b, const struct err *e)
{
    uint64_t generation = published_generation(db);
    for (struct post *p = b->posts, *next; p; p = next) {
        next = p->next;
        err_free(steal(&p->err));
        post_finish(db, p, err_copy(e), generation);
    }
    batch_free(b);
}

/* The head is void from the first undurable transaction on: all batches go with this one. Even an
 * error that one of them got from its work may have come of what nobody will ever see. */
static void batches_fail(struct db *db, struct batch *b, const struct err *e, bool lost)
{
    mutex_lock(&db->lock);
    db->batches = NULL;
    db->drops++;
    db->lost |= lost;
    err_free(db->dropped_for);
    db->dropped_for = err_copy(e);
    mutex_unlock(&db->lock);
    for (struct batch *next; b; b = next) {
        next = b->next;
        batch_fail(db, b, e);
    }
    if (lost && db->config.lost)
        db->config.lost(db->config.lost_arg);
}

/* Now and then the store gives back what was overwritten. A failure costs space only. */
static void count_commit(struct db *db, bool good)
{
    mutex_lock(&db->lock);
    uint64_t commits = good ? ++db->commits : 0;
    db->failures += !good;
    mutex_unlock(&db->lock);
    if (!commits || commits % COMPACT_EVERY)
        return;
    _cleanup_(err_freep) struct err *e = db->config.store->ops->compact(db->config.store);
    _cleanup_(freep) char *text = e ? err_text(e) : NULL;
    if (e)
        log_warn("event=compact-failed ignoring reason='%s'", text);
}

/* Makes a batch durable; nothing is to be done for one that is volatile. */
static struct err *persist(struct db *db, struct batch *b, bool *ret_lost)
{
    if (!b->durable || !db->config.store)
        return NULL;
    struct err *e = batch_commit(db, b, ret_lost);
    if (!e && *ret_lost)
        e = err_internal("the store has gone on without us");
    count_commit(db, !e);
    return e;
}

/* Brings the first batch to its end; false if there is none. On store (or the only thread). */
static bool store_step(struct db *db)
{
    struct batch *b = batch_take(db);
    if (!b)
        return false;
    bool lost = false;
    _cleanup_(err_freep) struct err *e = persist(db, b, &lost);
    if (!e) {
        batch_succeed(db, b);
        return true;
    }
    _cleanup_(freep) char *text = err_text(e);
    log_err("event=commit-failed generation=%" PRIu64 " reason='%s'", b->root->token.gen, text);
    batches_fail(db, b, e, lost);
    return true;
}

static void *store_main(void *arg)
{
    struct db *db = arg;
    turn_shorten();
    for (;;) {
        while (store_step(db))
            ;
        mutex_guard(&db->lock);
        while (!db->batches && !db->store_stop)
            cond_wait(&db->store_wake, &db->lock);
        if (!db->batches)
            return NULL;
    }
}

/* --- core --- */

/* Forgets a head that did not become durable. */
static struct err *refresh_head(struct db *db)
{
    mutex_lock(&db->lock);
    uint64_t drops = db->drops;
    struct err *e = db->lost ? err_copy(db->dropped_for) : NULL;
    mutex_unlock(&db->lock);
    if (db->seen_drops != drops) {
        snap_unref(db->head);
        db->head = snap_get(db);
        db->seen_drops = drops;
    }
    return e;
}

/* The batch that takes a result; called with the lock held. */
static struct batch *batch_for(struct db *db, const struct txn_result *r)
{
    struct batch **end = &db->batches, *last = NULL;
    for (; *end; end = &(*end)->next)
        last = *end;
    if (!last || !batch_has_room(db, last, r))
        last = *end = batch_new(db->head->token.gen);
    return last;
}

static bool put_into_batch(struct db *db, struct post *p, struct txn_result *r)
{
    mutex_guard(&db->lock);
    if (db->seen_drops != db->drops) {
        err_free(p->err);
        p->err = err_copy(db->dropped_for);
        return false;
    }
    if (!db->batches && !r->durable)
        return false;
    struct batch *b = batch_for(db, r);
    p->next = NULL;
    *b->posts_end = p;
    b->posts_end = &p->next;
    batch_add(b, r);
    return true;
}

/* Queues a transaction for the store; false if it may be published at once. */
static bool hand_to_store(struct db *db, struct post *p, struct txn_result *r)
{
    bool queued = put_into_batch(db, p, r);
    if (queued)
        pthread_cond_signal(&db->store_wake); /* without the lock, which it takes at once */
    return queued;
}

static void core_run(struct db *db, struct post *p)
{
    struct txn_result r = {0};
    p->err = refresh_head(db);
    if (!p->err)
        p->err = txn_run(db, db->head, p->name, p->fn, p->arg, db->hooks.v, db->hooks.n, &r);
    bool queued = hand_to_store(db, p, &r);
    if (r.root && (queued || !p->err)) {
        snap_unref(db->head);
        db->head = steal(&r.root);
    }
    if (!queued) {
        if (!p->err && db->head != db->root)
            publish(db, db->head);
        post_finish(db, p, steal(&p->err), published_generation(db));
    }
    txn_result_done(&r);
}

/* Waits for something to do: a transaction (returned), a dead root, a deadline. */
static struct post *core_wait(struct db *db, struct snap **ret_dead, bool *ret_stop)
{
    mutex_guard(&db->lock);
    while (!db->queue && !db->core_stop && db->n_dead < DEAD_MANY) {
        usec_t deadline = watch_next_deadline(db);
        usec_t later = clock_now() + DEAD_WAIT_US;
        if (db->n_dead && later < deadline)
            deadline = later;
        if (!clock_wait(&db->core_wake, &db->lock.m, deadline))
            break;
    }
    struct post *p = db->queue;
    if (p)
        db->queue = p->next;
    if (!db->queue)
        db->queue_end = &db->queue;
    *ret_dead = steal(&db->dead);
    db->n_dead = 0;
    *ret_stop = db->core_stop && !p;
    return p;
}

static void *core_main(void *arg)
{
    struct db *db = arg;
    bool stop = false;
    turn_shorten();
    while (!stop) {
        struct snap *dead;
        struct post *p = core_wait(db, &dead, &stop);
        if (p)
            core_run(db, p);
        watch_run_due(db);
        free_dead(dead);
    }
    return NULL;
}

void db_wake_core(struct db *db)
{
    mutex_guard(&db->lock);
    pthread_cond_signal(&db->core_wake);
}

/* --- writing --- */

static void run_inline(struct db *db, struct post *p)
{
    core_run(db, p);
    while (store_step(db))
        ;
}

static void enqueue(struct db *db, struct post *p)
{
    p->next = NULL;
    *db->queue_end = p;
    db->queue_end = &p->next;
}

struct err *db_write(struct db *db, const char *name, txn_fn fn, void *arg)
{
    struct post p = {.name = name, .fn = fn, .arg = arg, .cond = PTHREAD_COND_INITIALIZER};
    if (db->config.single) {
        run_inline(db, &p);
        return p.err;
    }
    assert(!pthread_equal(pthread_self(), db->core) && !pthread_equal(pthread_self(), db->store));
    mutex_guard(&db->lock);
    enqueue(db, &p);
    pthread_cond_signal(&db->core_wake);
    while (!p.finished)
        cond_wait(&p.cond, &db->lock);
    return p.err;
}

void db_write_async(struct db *db, const char *name, txn_fn fn, void *arg, db_done_fn done)
{
    struct post *p = mem_new(struct post);
    *p = (struct post){.name = name, .fn = fn, .arg = arg, .done = done};
    if (db->config.single) {
        run_inline(db, p);
        return;
    }
    mutex_lock(&db->lock);
    enqueue(db, p);
    mutex_unlock(&db->lock); /* before the signal: who is woken takes it at once */
    pthread_cond_signal(&db->core_wake);
}

struct new_feed {
    void (*fn)(void *arg, const struct db_change *ch);
    void *arg;
};

void db_feed(struct db *db, const struct db_change *ch)
{
    if (db->feed)
        db->feed(db->feed_arg, ch);
}

/* On core, like the feed's calls. */
static struct err *change_feed(struct txn *t, void *arg)
{
    const struct new_feed *f = arg;
    struct db *db = txn_db(t);
    db->feed = f->fn;
    db->feed_arg = f->arg;
    return NULL;
}

void db_set_feed(struct db *db, void (*fn)(void *arg, const struct db_change *ch), void *arg)
{
    struct new_feed f = {fn, arg};
    err_free(db_write(db, "feed", change_feed, &f));
}

void db_add_hook(struct db *db, txn_fn hook, void *arg)
{
    vec_push(&db->hooks, ((struct hook){hook, arg}));
}

/* --- opening and closing --- */

static void start_threads(struct db *db)
{
    if (db->config.single)
        return;
    if (pthread_create(&db->core, NULL, core_main, db) != 0 ||
        pthread_create(&db->store, NULL, store_main, db) != 0)
        abort();
    pthread_setname_np(db->core, "core");
    pthread_setname_np(db->store, "store");
}

struct err *db_open(const struct db_config *config, struct db **ret)
{
    struct db *db = mem_new(struct db);
    db->config = *config;
    db->classes = config->classes ? config->classes : desc_classes;
    db->n_classes = config->classes ? config->n_classes : desc_n_classes;
    assert(db->n_classes <= WATCH_MAX_CLASSES);
    mutex_init(&db->root_lock, LOCK_ROOT);
    mutex_init(&db->lock, LOCK_DB);
    pthread_cond_init(&db->core_wake, NULL);
    pthread_cond_init(&db->store_wake, NULL);
    db->queue_end = &db->queue;
    watch_init(&db->watchers);
    struct err *e = load_root(db, &db->root);
    if (e) {
        store_close(db->config.store);
        free(db);
        return e;
    }
    db->head = snap_ref(db->root);
    start_threads(db);
    *ret = db;
    return NULL;
}

static void stop_threads(struct db *db)
{
    if (db->config.single)
        return;
    mutex_lock(&db->lock);
    db->core_stop = true;
    pthread_cond_signal(&db->core_wake);
    mutex_unlock(&db->lock);
    pthread_join(db->core, NULL);
    mutex_lock(&db->lock);
    db->store_stop = true;
    pthread_cond_signal(&db->store_wake);
    mutex_unlock(&db->lock);
    pthread_join(db->store, NULL);
}

void db_close(struct db *db)
{
    if (!db)
        return;
    stop_threads(db);
    watch_done(&db->watchers);
    snap_unref(db->head);
    snap_unref(db->root);
    free_dead(db->dead);
    store_close(db->config.store);
    vec_done(&db->hooks);
    err_free(db->dropped_for);
    pthread_cond_destroy(&db->core_wake);
    pthread_cond_destroy(&db->store_wake);
    mutex_done(&db->lock);
    mutex_done(&db->root_lock);
    free(db);
}

static void dump_rows(const struct snap *s, struct buf *out)
{
    for (unsigned i = 0; i < s->n_tables; i++)
        if (snap_count(s, (int)i))
            buf_printf(out, "class=%s rows=%zu\n", s->tables[i]->cls->name, snap_count(s, (int)i));
}

void db_dump(struct db *db, struct buf *out)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(db);
    buf_printf(out, "store=%s epoch=%" PRIu64 " generation=%" PRIu64 " volatile=%" PRIu64 "\n",
               db->config.store ? db->config.store->ops->name : "none", db_epoch(db), s->token.gen,
               s->token.vol - s->vol_start);
    buf_printf(out, "marks=%zu volatile_marks=%zu\n", pmap_count(s->marks[true]),
               pmap_count(s->marks[false]));
    mutex_lock(&db->lock);
    size_t queued = 0, batches = 0;
    for (const struct post *p = db->queue; p; p = p->next)
        queued++;
    for (const struct batch *b = db->batches; b; b = b->next)
        batches++;
    buf_printf(out, "queued=%zu batches=%zu commits=%" PRIu64 " failures=%" PRIu64 " lost=%s\n",
               queued, batches, db->commits, db->failures, db->lost ? "yes" : "no");
    mutex_unlock(&db->lock);
    dump_rows(s, out);
}

uint64_t db_epoch(const struct db *db)
{
    return db->config.store ? db->config.store->epoch : 1;
}

const struct class_desc *db_class(const struct db *db, int cls)
{
    return db->classes[cls];
}

unsigned db_n_classes(const struct db *db)
{
    return db->n_classes;
}

/* --- snapshots --- */

struct snap *snap_get(struct db *db)
{
    mutex_guard(&db->root_lock);
    return snap_ref(db->root);
}

struct snap *snap_ref(const struct snap *cs)
{
    struct snap *s = (struct snap *)(uintptr_t)cs;
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void snap_unref(struct snap *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    struct db *db = s->db;
    if (db->config.single) {
        root_free(s);
        return;
    }
    mutex_guard(&db->lock);
    bury(db, s);
}
