/* together.c: see together.h. Its loop; core and store run the transaction and what is done after
 * it. It is freed when every call has come and all is done. */
#include "api/together.h"

#include <stdlib.h>

#include "api/api.h"
#include "base/vec.h"

struct joined {
    struct implicit_write *write;
    db_done_fn done;
    void *arg;
};

struct api_together {
    unsigned n_missing;
    struct db *db;
    struct err *e;
    VEC(struct joined) joined;
};

struct api_together *api_together(unsigned n)
{
    struct api_together *t = mem_new(struct api_together);
    t->n_missing = n;
    return t;
}

static struct err *write_all(struct txn *txn, void *arg)
{
    struct api_together *t = arg;
    vec_each (j, &t->joined)
        TRY(implicit_txn(txn, j->write));
    return NULL;
}

static void all_done(void *arg, struct err *e, uint64_t generation)
{
    struct api_together *t = arg;
    vec_each (j, &t->joined)
        j->done(j->arg, e ? err_copy(e) : NULL, generation);
    err_free(e);
    err_free(t->e);
    vec_done(&t->joined);
    free(t);
}

static void count(struct api_together *t)
{
    if (--t->n_missing)
        return;
    if (t->e || !t->joined.n)
        all_done(t, steal(&t->e), 0);
    else
        db_write_async(t->db, "implicit", write_all, t, all_done);
}

void together_join(struct api_together *t, struct db *db, struct implicit_write *w, db_done_fn done,
                   void *arg)
{
    t->db = db;
    vec_push(&t->joined, ((struct joined){w, done, arg}));
    count(t);
}

void together_miss(struct api_together *t, const struct err *e)
{
    if (!t->e)
        t->e = e ? err_copy(e) : err_internal("a call that belongs to it was dropped");
    count(t);
}
