/*
 * claim_rules.c: the named rules of the model, and which objects look at which.
 *
 * Each function is pure: it reads rows through the view and returns an error or NULL.
 */
#include "task/claim_rules.h"

#include <string.h>

#include "gen/error.h"
#include "gen/rec.h"

static const struct {
    const char *name;
    claim_rule_fn fn;
} rules[] = {
    {"none", NULL},
};

claim_rule_fn claim_rule_named(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        if (strcmp(rules[i].name, name) == 0)
            return rules[i].fn;
    }
    return NULL;
}

/* A VM's power state decides over its devices, a device over its VM and disk. */
static const struct {
    const char *cls;
    const char *const *fields;
} followers[] = {
    {"VM", (const char *const[]){"VBDs", "VIFs", NULL}},
    {"VBD", (const char *const[]){"VM", "VDI", NULL}},
    {"VIF", (const char *const[]){"VM", NULL}},
    {"VDI", (const char *const[]){"VBDs", NULL}},
    {"PBD", (const char *const[]){"SR", NULL}},
};

const char *const *claim_rule_followers(const char *cls)
{
    for (size_t i = 0; i < ARRAY_LEN(followers); i++) {
        if (strcmp(followers[i].cls, cls) == 0)
            return followers[i].fields;
    }
    return NULL;
}
