/*
 * request.h: one line of JSON as a request that can be trusted in form.
 *
 * A verb declares its members; a request has exactly these, each of its kind and passing its rule.
 * Everything else (an unknown verb or member, one that is missing or given twice in another kind, a
 * text that is no JSON object) is refused with a sentence that never repeats what was sent, because
 * it may be a password.
 *
 *     _cleanup_(request_done) struct request r = {0};
 *     TRY(request_parse(verbs, line, &r));
 *     return r.verb->run(place, &r, answer, &fd);
 *
 * Pure; any thread. Whoever calls request_parse() owns the request.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "base/val.h"
#include "privd/rules.h"

#define REQUEST_SIZE_MAX ((size_t)1 << 20) /* of the line, with its line feed */
#define REQUEST_MEMBERS  4

struct place;
struct request;

struct member {
    const char *name;
    enum val_kind kind; /* VAL_STRING, VAL_INT or VAL_BOOL */
    rule_fn rule;       /* of a string */
    int64_t min, max;   /* of an integer */
    bool optional;
};

/* Does what was asked: puts members into `answer`, or a descriptor into *ret_fd. */
typedef struct err *(*verb_fn)(const struct place *p, const struct request *r, struct val *answer,
                               int *ret_fd);

struct verb {
    const char *name;
    struct member members[REQUEST_MEMBERS]; /* up to the first without a name */
    verb_fn run;
    uint64_t caps;      /* bits 1 << CAP_…: all that is left while it runs */
    bool runs_programs; /* it may execute others */
    bool unconfined;  /* what it runs is the administrator's own: no filter, no cut of privileges */
    unsigned seconds; /* its deadline */
};

struct request {
    const struct verb *verb;
    struct val *members; /* owned */
};

/* `verbs` ends with an entry without a name. */
struct err *request_parse(const struct verb *verbs, struct view line, struct request *ret)
    _must_use_;
void request_done(struct request *r);

/* Of members that the verb declares; "", 0 and false for optional ones that are absent. */
const char *request_str(const struct request *r, const char *name);
int64_t request_int(const struct request *r, const char *name);
bool request_bool(const struct request *r, const char *name);
bool request_has(const struct request *r, const char *name);
