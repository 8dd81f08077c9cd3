/* claim_class.c: see claim_class.h. */
#include "task/claim_class.h"

#include <assert.h>
#include <pthread.h>

#include "base/mem.h"
#include "base/str.h"
#include "gen/rec.h"
#include "task/claim_rules.h"

static struct claim_class tables[CLASS_N];

static bool is_offered(const struct class_desc *c, unsigned operation)
{
    bool has_message = false;
    for (unsigned i = 0; i < c->n_msgs; i++) {
        const struct msg_desc *m = c->msgs[i];
        if (!m->op || m->op->op != (int)operation)
            continue;
        if (!(m->flags & (MSG_UNIMPLEMENTED | MSG_REMOVED)))
            return true;
        has_message = true;
    }
    return !has_message;
}

static void find_offered(struct claim_class *t, const struct class_desc *c)
{
    assert(c->n_ops <= CLAIM_OPS_MAX);
    for (unsigned op = 0; op < c->n_ops; op++)
        if (c->ops[op] && is_offered(c, op))
            t->offered[op / 64] |= 1ull << (op % 64);
}

static void find_followers(struct claim_class *t, const struct class_desc *c)
{
    const char *const *names = claim_rule_followers(c->name);
    const struct field_desc **list = NULL;
    for (; names && *names; names++) {
        list = mem_realloc(list, t->n_followers + 1, sizeof(*list));
        list[t->n_followers++] = desc_field(c, *names);
    }
    t->followers = list;
}

static void find_inputs(struct claim_class *t, const struct class_desc *c)
{
    const struct field_desc **list = mem_new_n(const struct field_desc *, c->n_fields + 1);
    desc_each_field (f, c)
        if (f - c->fields != c->field_allowed && claim_rule_reads(f->type))
            list[t->n_inputs++] = f;
    t->inputs = list;
}

static void make_tables(void)
{
    for (unsigned i = 0; i < desc_n_classes; i++) {
        const struct class_desc *c = desc_classes[i];
        struct claim_class *t = &tables[i];
        /* What a task allows is said by whoever runs it (task_row.c). */
        t->has_rules = c->n_ops > 0 && c->field_allowed >= 0 && c->num != CLASS_task;
        t->blocked = desc_field(c, "blocked_operations");
        find_offered(t, c);
        find_followers(t, c);
        if (t->has_rules || t->n_followers)
            find_inputs(t, c);
    }
}

const struct claim_class *claim_class(const struct class_desc *c)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_tables);
    return &tables[c->num];
}
