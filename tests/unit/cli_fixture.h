/*
 * cli_fixture.h: a small world of objects that answers the messages of commands, and a client that
 * sends words and notes what a user would see.
 *
 *     struct world *w = *state;                  // by world_setup
 *     expect(w, "vm-pause\nvm=demo", "[0]");     // words a line each; the transcript
 *     expect_calls(w, "VM.pause OpaqueRef:demo\n");
 */
#pragma once

#include "base/buf.h"
#include "base/val.h"
#include "cli/cli.h"
#include "cli/cmd.h"

struct world {
    struct val *classes;       /* name -> map ref -> record */
    VEC(struct row *) rows;    /* handed out */
    struct buf calls;          /* one line a call that changes something */
    const char *fail;          /* message that fails … */
    struct err *(*with)(void); /* … with this */
    /* What each event.from finds the one task in: a progress, an error code or "<value>…", with
     * blanks between them. */
    struct view task_states;
    bool (*serves)(const char *handler); /* NULL: every HTTP handler is there */
    void (*on_event)(struct world *w);   /* called by each event.from; NULL: nothing happens */
};

#define UUID_DEMO  "11111111-1111-1111-1111-111111111111"
#define UUID_OTHER "22222222-2222-2222-2222-222222222222"
#define UUID_TMPL  "33333333-3333-3333-3333-333333333333"
#define UUID_SR    "44444444-4444-4444-4444-444444444444"
#define UUID_HOST  "55555555-5555-5555-5555-555555555555"

/* A running VM "demo" and a halted one, a template, a host, a pool with a default SR. */
int world_setup(void **state);
int world_teardown(void **state);
/* The objects of a class: a map from reference to record. */
struct val *world_table(struct world *w, const char *cls);
/* A record with every field at the zero of its type, kept in the world. */
struct val *world_add(struct world *w, const char *cls, const char *ref, const char *uuid,
                      const char *name);

/* Runs one command line (a word a line) and appends what the user sees: standard output as it is,
 * standard error lines with "! ", transfers and prompts as <tag words>, then [status]. `answer` is
 * sent for a prompt or a file, beginning with <ok> or <failed> where the client first has to say
 * whether it can; NULL: none. */
void run_as(struct world *w, bool trusted, const char *words, const char *answer, struct buf *out);
extern bool was_patient;  /* of the last run: reads were allowed to take any time */
extern unsigned n_writes; /* of the last run */
/* A client that posts its words and says nothing more. */
void run_silent(struct world *w, const char *words, struct buf *out);
/* Runs it as the superuser and compares. */
void expect(struct world *w, const char *words, const char *seen);
void expect_with(struct world *w, const char *words, const char *answer, const char *seen);
/* Compares the calls since the last time. */
void expect_calls(struct world *w, const char *calls);
