/*
 * torture.c: breaks every step of every operation, in every way, and looks at what is left.
 *
 *   torture            the n-th fault point fails, for all n
 *   torture --crash    the process dies at the n-th mark (before and after each step and each
 *                      undo), for all n; another process recovers the same store and world
 *   torture --verbs    each host verb fails once, half done
 *   torture [--list] [scenario…]
 *
 * Each try runs in a process of its own over a fresh folder. A step table that no scenario walks
 * is a failure too.
 */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "scenario.h"
#include "task/fault.h"
#include "lab.h"

enum mode { MODE_FAIL, MODE_CRASH, MODE_VERBS };

enum { END_DONE = 0, END_STRUCK = 3, END_WRONG_STRUCK = 4, END_WRONG = 5, END_BROKEN = 6 };

#define MAX_TRIES 200

static unsigned n_tries, n_wrong;

static void complain(const char *what, char *text)
{
    fprintf(stderr, "  %s: %s\n", what, text);
    free(text);
}

static int broken(const char *what, struct err *e)
{
    complain(what, err_text(e));
    err_free(e);
    return END_BROKEN;
}

static void arm(struct lab *w, enum mode mode, unsigned n, const char *verb)
{
    fault_clear();
    if (mode == MODE_FAIL)
        fault_fail_nth(n);
    else if (mode == MODE_CRASH)
        fault_die_nth(n);
    else
        sim_fail(w->host, verb, 1);
}

/* What is left when everything has come to rest: what a guest did by itself is seen to by work that
 * begins on other threads, so a first look may be too early. The caller frees; NULL: nothing. */
static char *look_around(struct lab *w)
{
    usec_t until = clock_now() + 5 * USEC_PER_SEC;
    for (;;) {
        lab_settle(w);
        char *wrong = lab_check(w);
        if (!wrong || clock_now() > until)
            return wrong;
        free(wrong);
    }
}

/* In a child: set up, arm, run, look. */
static int try_once(const char *dir, const struct scenario *sc, enum mode mode, unsigned n,
                    const char *verb)
{
    struct lab w;
    struct err *e = lab_open(dir, &w);
    if (!e)
        e = sc->setup(&w);
    if (e)
        return broken("setup", e);
    lab_settle(&w);
    arm(&w, mode, n, verb);
    e = sc->run(&w);
    lab_settle(&w);
    bool struck = mode == MODE_VERBS ? e != NULL : *fault_last() != '\0';
    if (e && !struck)
        return broken("run", e);
    err_free(e);
    fault_clear();
    sim_fail(w.host, "", 0);
    char *wrong = look_around(&w);
    if (wrong) {
        complain("left", wrong);
        return struck ? END_WRONG_STRUCK : END_WRONG;
    }
    lab_close(&w);
    return struck ? END_STRUCK : END_DONE;
}

/* In another child: the successor of the one that died. */
static int look_after(const char *dir)
{
    struct lab w;
    struct err *e = lab_open(dir, &w);
    if (e)
        return broken("recovery", e);
    char *wrong = look_around(&w);
    if (wrong) {
        complain("left", wrong);
        return END_WRONG_STRUCK;
    }
    lab_close(&w);
    return END_DONE;
}

struct child {
    const char *dir;
    const struct scenario *sc;
    enum mode mode;
    unsigned n;
    const char *verb;
    bool successor;
};

static int in_child(const struct child *c)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        _exit(c->successor ? look_after(c->dir) : try_once(c->dir, c->sc, c->mode, c->n, c->verb));
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        return END_BROKEN;
    return WIFEXITED(status) ? WEXITSTATUS(status) : END_BROKEN;
}

/* One try; true if there may be a next one (something struck). */
static bool one(const struct scenario *sc, enum mode mode, unsigned n, const char *verb)
{
    char dir[] = "/tmp/torture.XXXXXX";
    if (!mkdtemp(dir))
        return false;
    struct child c = {dir, sc, mode, n, verb, false};
    int end = in_child(&c);
    bool struck = end == END_STRUCK || end == FAULT_EXIT;
    if (end == FAULT_EXIT) {
        c.successor = true;
        end = in_child(&c);
    }
    n_tries++;
    if (end != END_DONE && end != END_STRUCK) {
        n_wrong++;
        fprintf(stderr, "FAILED %s %s %u\n", sc->name, verb ? verb : "point", n);
    }
    fd_remove_tree(dir);
    return struck || end == END_WRONG_STRUCK;
}

static const char *const verbs[] = {
    "build",       "unpause",     "pause",      "shutdown",      "kill",        "plug_disk",
    "unplug_disk", "insert_cd",   "eject_cd",   "plug_nic",      "unplug_nic",  "save",
    "set_domid",   "attach",      "detach",     "detach_all",    "create",      "resize",
    "info",        "child",       "set_hidden", "set_parent",    "coalesce",    "disk_pause",
    "disk_resume", "disk_reopen", "mirror",     "mirror_finish", "mirror_drop", "switch",
    "go_on"};

static void torture(const struct scenario *sc, enum mode mode)
{
    unsigned before = n_tries;
    if (mode == MODE_VERBS) {
        for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
            one(sc, mode, 1, verbs[i]);
    } else {
        for (unsigned n = 1; n < MAX_TRIES && one(sc, mode, n, NULL); n++)
            ;
    }
    printf("%s: %u tries\n", sc->name, n_tries - before);
}

static bool is_wanted(const struct scenario *sc, char **names)
{
    if (!*names)
        return true;
    for (; *names; names++) {
        if (str_eq(*names, sc->name))
            return true;
    }
    return false;
}

static void check_coverage(void)
{
    unsigned n;
    ops_register();
    const struct op_kind *const *kinds = op_kinds(&n);
    for (unsigned i = 0; i < n; i++) {
        bool found = false;
        for (const struct scenario *sc = scenarios; sc->name; sc++)
            found = found || str_eq(sc->kind, kinds[i]->name);
        if (!found) {
            fprintf(stderr, "FAILED no scenario walks '%s'\n", kinds[i]->name);
            n_wrong++;
        }
    }
}

int main(int argc, char **argv)
{
    enum mode mode = MODE_FAIL;
    char **names = argv + 1;
    for (; *names && str_starts(*names, "--"); names++) {
        if (str_eq(*names, "--crash"))
            mode = MODE_CRASH;
        else if (str_eq(*names, "--verbs"))
            mode = MODE_VERBS;
        else
            return fprintf(stderr, "usage: torture [--crash | --verbs] [scenario...]\n"), 2;
    }
    log_set_level(NULL, getenv("TORTURE_LOG") ? LOG_INFO : LOG_ERR);
    if (!*names)
        check_coverage();
    for (const struct scenario *sc = scenarios; sc->name; sc++) {
        if (is_wanted(sc, names))
            torture(sc, mode);
    }
    printf("%u passed, %u failed\n", n_tries - n_wrong, n_wrong);
    return n_wrong ? 1 : 0;
}
