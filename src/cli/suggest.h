/*
 * suggest.h: what a misspelt word of the command line was probably meant to be.
 *
 *     const char *meant = suggest_column(r, "nam-label");   // "name-label", or NULL if none is
 * near
 *
 * For the files of src/cli; stream thread. What is returned stands in the constant tables.
 */
#pragma once

#include "cli/cmd.h"

/* Candidates are offered one by one; the nearest stays, if it is near at all. */
struct suggest {
    const char *word;
    const char *best; /* borrowed from the candidates */
    unsigned distance;
};
void suggest_offer(struct suggest *s, const char *candidate);

const char *suggest_command(const char *name);
const char *suggest_column(const struct xe_record *r, const char *name);
/* Warns about words of the command line that the command does not take. */
void suggest_parameters(struct cmd *c);
