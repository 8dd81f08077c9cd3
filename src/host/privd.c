/*
 * privd.c: a cairn-privd of our own, for a host that runs as root without systemd around it.
 *
 * On the mon loop. One that a predecessor left is taken up; one that dies is started again, after a
 * pause when it did not live long. It ends with the host.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "host/host_impl.h"
#include "host/mon.h"
#include "host/proc.h"
#include "loop/child.h"

#undef LOG_MODULE
#define LOG_MODULE "priv"

#define PAUSE      (2 * USEC_PER_SEC)

struct privd {
    struct host *host;
    char *program, *socket_arg;
    struct child *child;
    struct loop_timer *timer;
    usec_t spawned;
};

static void on_end(void *arg, const struct child_exit *how);

static void spawn(void *arg)
{
    struct privd *p = arg;
    const struct host *h = p->host;
    _cleanup_(freep) char *mounts = mem_printf("--mount-dir=%s/sr-mount", h->run_dir);
    _cleanup_(freep) char *peer = mem_printf("--peer-uid=%u", geteuid());
    _cleanup_(freep) char *log = mem_printf("%s/privd.log", h->log_dir);
    _cleanup_(freep) char *plugins = h->plugins ? mem_printf("--plugins-dir=%s", h->plugins) : NULL;
    _cleanup_(freep) char *extensions =
        h->extensions ? mem_printf("--extensions-dir=%s", h->extensions) : NULL;
    const char *argv[8] = {p->program, p->socket_arg, mounts, peer, "--pam-service=cairn"};
    unsigned n = 5;
    if (plugins)
        argv[n++] = plugins;
    if (extensions)
        argv[n++] = extensions;
    struct child_spec spec = {.argv = argv, .log_file = log, .new_session = true};
    p->spawned = clock_now();
    struct err *e = child_spawn(h->mon, &spec, on_end, p, &p->child);
    if (!e)
        return;
    _cleanup_(freep) char *text = err_text(e);
    log_warn("event=not-started program=%s reason=\"%s\"", p->program, text);
    err_free(e);
}

static void on_end(void *arg, const struct child_exit *how)
{
    struct privd *p = arg;
    child_free(p->child);
    p->child = NULL;
    log_warn("event=died code=%d signal=%d", how->code, how->signal);
    bool short_lived = clock_now() - p->spawned < USEC_PER_SEC;
    loop_timer_set(p->timer, clock_now() + (short_lived ? PAUSE : 0));
}

static void begin(void *arg)
{
    struct privd *p = arg;
    pid_t pid;
    uint64_t start;
    p->timer = loop_timer_new(p->host->mon, spawn, p);
    if (proc_find(p->socket_arg, &pid, &start)) {
        struct err *e = child_adopt(p->host->mon, pid, start, on_end, p, &p->child);
        if (!e)
            return;
        err_free(e);
    }
    spawn(p);
}

/* Beside cairn-diskd, where that is configured, else beside this program or on PATH. */
static char *program(const struct host *h)
{
    const char *slash = h->diskd ? strrchr(h->diskd, '/') : NULL;
    return slash ? mem_printf("%.*s/cairn-privd", (int)(slash - h->diskd), h->diskd)
                 : proc_beside("cairn-privd");
}

void privd_start(struct host *h)
{
    struct privd *p = mem_new(struct privd);
    p->host = h;
    p->program = program(h);
    h->privd = mem_printf("%s/privd.sock", h->run_dir);
    p->socket_arg = mem_printf("--socket=%s", h->privd);
    h->own_privd = p;
    mon_run(h->mon, begin, p);
}

void privd_end(struct host *h)
{
    struct privd *p = h->own_privd;
    if (!p)
        return;
    h->own_privd = NULL;
    loop_timer_free(p->timer);
    if (p->child)
        (void)child_kill(p->child, SIGTERM);
    child_free(p->child);
    free(p->program);
    free(p->socket_arg);
    free(p);
}
