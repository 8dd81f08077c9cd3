/* pattern.c: see pattern.h. Compiled as by Thompson, run as by Pike. */
#include "metrics/pattern.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define CODE_MAX    (4 * PATTERN_MAX)
#define NESTING_MAX 16

enum code {
    CODE_CHAR,
    CODE_ANY,
    CODE_SET,
    CODE_BEGIN,
    CODE_END,
    CODE_SPLIT,
    CODE_JUMP,
    CODE_MATCH
};

struct instruction {
    enum code code;
    uint8_t c;         /* CODE_CHAR */
    int16_t to, or_to; /* CODE_SPLIT, CODE_JUMP: relative */
    uint32_t set[8];   /* CODE_SET: a bit for each byte */
};

struct pattern {
    unsigned n;
    struct instruction code[CODE_MAX];
};

struct compiler {
    struct pattern *p;
    const char *at;
    unsigned nesting;
    bool failed;
};

static void alternatives(struct compiler *c);

/* Makes room for one instruction at `where`, or at the end. */
static struct instruction *insert(struct compiler *c, unsigned where, enum code code)
{
    struct pattern *p = c->p;
    if (p->n >= CODE_MAX - 1) {
        c->failed = true;
        return &p->code[CODE_MAX - 1];
    }
    memmove(&p->code[where + 1], &p->code[where], (p->n - where) * sizeof(p->code[0]));
    p->n++;
    p->code[where] = (struct instruction){.code = code};
    return &p->code[where];
}

static struct instruction *append(struct compiler *c, enum code code)
{
    return insert(c, c->p->n, code);
}

static void add_to_set(struct instruction *i, uint8_t from, uint8_t to)
{
    for (unsigned b = from; b <= to; b++)
        i->set[b / 32] |= UINT32_C(1) << b % 32;
}

/* Behind '['. A ']' in front is one of the set. */
static void read_set(struct compiler *c)
{
    struct instruction *i = append(c, CODE_SET);
    bool is_not = *c->at == '^';
    c->at += is_not;
    for (bool first = true; *c->at && (first || *c->at != ']'); first = false) {
        uint8_t from = (uint8_t)*c->at++, to = from;
        if (c->at[0] == '-' && c->at[1] && c->at[1] != ']') {
            to = (uint8_t)c->at[1];
            c->at += 2;
        }
        add_to_set(i, from, to);
    }
    for (int w = 0; is_not && w < 8; w++)
        i->set[w] = ~i->set[w];
    if (*c->at == ']')
        c->at++;
    else
        c->failed = true;
}

static void read_group(struct compiler *c)
{
    if (++c->nesting > NESTING_MAX) {
        c->failed = true;
        return;
    }
    alternatives(c);
    c->nesting--;
    if (*c->at == ')')
        c->at++;
    else
        c->failed = true;
}

static void read_atom(struct compiler *c)
{
    char ch = *c->at++;
    switch (ch) {
    case '(':
        read_group(c);
        break;
    case '[':
        read_set(c);
        break;
    case '.':
        append(c, CODE_ANY);
        break;
    case '^':
        append(c, CODE_BEGIN);
        break;
    case '$':
        append(c, CODE_END);
        break;
    case '*':
    case '+':
    case '?':
    case '{':
        c->failed = true;
        break;
    default:
        if (ch == '\\')
            ch = *c->at ? *c->at++ : '\0';
        c->failed |= !ch;
        append(c, CODE_CHAR)->c = (uint8_t)ch;
    }
}

/* What stands from `start` on is repeated as `how` says. */
static void repeat(struct compiler *c, unsigned start, char how)
{
    int size = (int)(c->p->n - start);
    struct instruction *i;
    if (how == '+') {
        i = append(c, CODE_SPLIT);
        i->to = (int16_t)-size;
        i->or_to = 1;
        return;
    }
    i = insert(c, start, CODE_SPLIT);
    i->to = 1;
    i->or_to = (int16_t)(size + (how == '*' ? 2 : 1));
    if (how == '*')
        append(c, CODE_JUMP)->to = (int16_t)(-size - 1);
}

static void sequence(struct compiler *c)
{
    while (*c->at && *c->at != '|' && *c->at != ')' && !c->failed) {
        unsigned start = c->p->n;
        read_atom(c);
        if (!c->failed && *c->at && strchr("*+?", *c->at))
            repeat(c, start, *c->at++);
    }
}

/*  split 1 2   1: a   jump 3   2: b | c …   3:  */
static void alternatives(struct compiler *c)
{
    unsigned start = c->p->n;
    sequence(c);
    if (*c->at != '|' || c->failed)
        return;
    c->at++;
    struct instruction *i = insert(c, start, CODE_SPLIT);
    unsigned jump = c->p->n;
    i->to = 1;
    i->or_to = (int16_t)(jump + 1 - start);
    append(c, CODE_JUMP);
    if (++c->nesting > PATTERN_MAX)
        c->failed = true;
    else
        alternatives(c);
    c->nesting--;
    c->p->code[jump < CODE_MAX ? jump : 0].to = (int16_t)(c->p->n - jump);
}

struct pattern *pattern_new(const char *text)
{
    if (strlen(text) > PATTERN_MAX)
        return NULL;
    struct compiler c = {.p = mem_new(struct pattern), .at = text};
    alternatives(&c);
    if (*c.at || c.failed) {
        free(c.p);
        return NULL;
    }
    append(&c, CODE_MATCH);
    return mem_realloc(c.p, 1, offsetof(struct pattern, code) + c.p->n * sizeof(c.p->code[0]));
}

void pattern_free(struct pattern *p)
{
    free(p);
}

/* ---- matching ---- */

struct paths {
    unsigned n;
    uint16_t at[CODE_MAX];
    bool is_in[CODE_MAX];
};

/* Adds a place and all that is reached from it without a character. */
static void follow(const struct pattern *p, struct paths *s, unsigned place, bool first, bool last)
{
    uint16_t stack[CODE_MAX];
    unsigned n = 0;
    if (!s->is_in[place])
        stack[n++] = (uint16_t)place;
    s->is_in[place] = true;
    while (n) {
        unsigned at = stack[--n];
        const struct instruction *i = &p->code[at];
        int next[2] = {0, 0};
        if (i->code == CODE_JUMP || i->code == CODE_SPLIT)
            next[0] = i->to;
        if (i->code == CODE_SPLIT)
            next[1] = i->or_to;
        if ((i->code == CODE_BEGIN && first) || (i->code == CODE_END && last))
            next[0] = 1;
        for (int k = 0; k < 2; k++) {
            unsigned to = (unsigned)((int)at + next[k]);
            if (next[k] && !s->is_in[to])
                stack[n++] = (uint16_t)to;
            s->is_in[to] = true;
        }
        s->at[s->n++] = (uint16_t)at;
    }
}

static bool takes(const struct instruction *i, uint8_t c)
{
    switch (i->code) {
    case CODE_CHAR:
        return i->c == c;
    case CODE_ANY:
        return true;
    case CODE_SET:
        return i->set[c / 32] >> c % 32 & 1;
    default:
        return false;
    }
}

bool pattern_is_match(const struct pattern *p, const char *text)
{
    struct paths here = {0};
    follow(p, &here, 0, true, !*text);
    for (; *text; text++) {
        struct paths next = {0};
        for (unsigned k = 0; k < here.n; k++)
            if (takes(&p->code[here.at[k]], (uint8_t)*text))
                follow(p, &next, here.at[k] + 1u, false, !text[1]);
        here = next;
    }
    return here.is_in[p->n - 1];
}
