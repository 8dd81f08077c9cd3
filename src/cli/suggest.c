/* suggest.c: see suggest.h. */
#include "cli/suggest.h"

#include <string.h>

#define WORD_MAX 64 /* longer words are nobody's typing error */

/* Letters to add, drop, change or swap with the next one until a is b. */
static unsigned distance(const char *a, const char *b)
{
    unsigned rows[3][WORD_MAX + 1];
    size_t n = strlen(b);
    for (size_t j = 0; j <= n; j++)
        rows[0][j] = (unsigned)j;
    for (size_t i = 1; i <= strlen(a); i++) {
        unsigned *now = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        now[0] = (unsigned)i;
        for (size_t j = 1; j <= n; j++) {
            unsigned best = last[j - 1] + (a[i - 1] != b[j - 1]);
            best = last[j] + 1 < best ? last[j] + 1 : best;
            best = now[j - 1] + 1 < best ? now[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
    }
    return rows[strlen(a) % 3][n];
}

void suggest_offer(struct suggest *s, const char *candidate)
{
    size_t size = strlen(s->word);
    if (size < 3 || size > WORD_MAX || strlen(candidate) > WORD_MAX || s->word == candidate)
        return;
    unsigned d = distance(s->word, candidate), bearable = size < 6 ? 1 : 2;
    if (d <= bearable && (!s->best || d < s->distance)) {
        s->best = candidate;
        s->distance = d;
    }
}

/* ---- commands ---- */

const char *suggest_command(const char *name)
{
    struct suggest s = {.word = name};
    for (unsigned i = 0; i < xe_n_commands; i++)
        if (!(xe_commands[i].flags & XE_HIDDEN))
            suggest_offer(&s, xe_commands[i].name);
    return s.best;
}

const char *suggest_column(const struct xe_record *r, const char *name)
{
    struct suggest s = {.word = name};
    for (unsigned i = 0; i < r->n_columns; i++)
        if (!r->columns[i].hidden)
            suggest_offer(&s, r->columns[i].name);
    return s.best;
}

/* ---- parameters ---- */

/* Whether a parameter is one of a list, where "name:" and "name-" stand for a map's keys. */
static bool takes(const char *const *list, const char *name)
{
    for (; *list; list++) {
        size_t size = strlen(*list);
        bool keyed = size && strchr(":-", (*list)[size - 1]);
        if (strcmp(*list, name) == 0)
            return true;
        if (keyed && strncmp(*list, name, size - 1) == 0 && strchr(":-", name[size - 1]))
            return true;
    }
    return false;
}

/* A call may name parameters that are declared nowhere; none without a name. */
static bool call_takes(const char *call, const char *name)
{
    size_t size = strcspn(name, ":");
    for (const char *at = size ? call : NULL; at && (at = strstr(at, name)) != NULL; at += size)
        if (at > call && strchr("%#.!{[:<", at[-1]) && strchr(" =}]?*>", at[size]))
            return true;
    return false;
}

static bool is_parameter(const struct xe_command *d, const char *name)
{
    _cleanup_(freep) char *stem = mem_strndup(name, strcspn(name, ":"));
    return arg_is_standard(name) || takes(d->required, name) || takes(d->optional, name) ||
           call_takes(d->call, stem);
}

static const char *suggest_parameter(const struct xe_command *d, const char *name)
{
    struct suggest s = {.word = name};
    for (const char *const *p = d->required; *p; p++)
        suggest_offer(&s, *p);
    for (const char *const *p = d->optional; *p; p++)
        suggest_offer(&s, *p);
    return s.best;
}

/* Parameters that select objects are judged where objects are selected, those of families by their
 * columns. What else nothing takes is ignored, as it always was, but said. */
void suggest_parameters(struct cmd *c)
{
    unsigned selecting = XE_VM_SELECTORS | XE_HOST_SELECTORS | XE_SR_SELECTORS;
    if (!c->desc || c->desc->flags & selecting || strcmp(c->desc->name, "event-wait") == 0)
        return;
    args_each(p, &c->args)
    {
        if (is_parameter(c->desc, p->name))
            continue;
        const char *meant = suggest_parameter(c->desc, p->name);
        if (meant)
            cmd_warn(c, "Ignoring unknown parameter '%s'; did you mean '%s'?", p->name, meant);
        else
            cmd_warn(c, "Ignoring unknown parameter '%s'", p->name);
    }
}
