/*
 * sr_watch.c: folders of repositories that are watched for changes.
 *
 * One inotify descriptor on the mon loop; a burst of changes becomes one fact, DELAY after the
 * last. sr_watch and sr_watch_end are called on operation threads and post to the loop, which alone
 * owns the list. The simulator has no loop and no watching: a scan is asked for there.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "base/vec.h"
#include "host/host_impl.h"
#include "host/sr_impl.h"

#undef LOG_MODULE
#define LOG_MODULE "sr"

#define DELAY      (300 * USEC_PER_MSEC)
#define EVENTS                                                                                     \
    (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE_SELF |       \
     IN_ONLYDIR)

struct watched {
    char *sr;
    int wd;
    bool changed;
};

struct sr_watches {
    struct host *host;
    int fd;
    struct loop_fd *on_fd;
    struct loop_timer *timer;
    VEC(struct watched) list;
};

struct request {
    struct host *host;
    char *sr, *dir; /* dir NULL: end */
};

static void on_timer(void *arg)
{
    struct sr_watches *w = arg;
    vec_each (x, &w->list) {
        if (!x->changed)
            continue;
        x->changed = false;
        struct host_fact f = {.kind = FACT_SR_CHANGED, .sr = x->sr};
        host_post(w->host, &f);
    }
}

static void on_events(void *arg, int fd, unsigned events)
{
    struct sr_watches *w = arg;
    char room[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t size;
    while ((size = read(fd, room, sizeof(room))) > 0) {
        for (char *p = room; p < room + size;) {
            struct inotify_event event;
            memcpy(&event, p, sizeof(event));
            vec_each (x, &w->list)
                if (x->wd == event.wd)
                    x->changed = true;
            p += sizeof(event) + event.len;
        }
        loop_timer_set(w->timer, clock_now() + DELAY);
    }
}

static struct sr_watches *watches(struct host *h)
{
    if (h->watches)
        return h->watches;
    struct sr_watches *w = mem_new(struct sr_watches);
    w->host = h;
    w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (w->fd >= 0)
        w->on_fd = loop_fd_add(h->mon, w->fd, LOOP_READ, on_events, w);
    w->timer = loop_timer_new(h->mon, on_timer, w);
    h->watches = w;
    return w;
}

static void forget(struct sr_watches *w, const char *sr)
{
    for (size_t i = 0; i < w->list.n; i++) {
        if (!str_eq(w->list.v[i].sr, sr))
            continue;
        (void)inotify_rm_watch(w->fd, w->list.v[i].wd);
        free(w->list.v[i].sr);
        vec_remove(&w->list, i);
        return;
    }
}

static void apply(void *arg)
{
    struct request *r = arg;
    struct sr_watches *w = watches(r->host);
    forget(w, r->sr);
    int wd = r->dir ? inotify_add_watch(w->fd, r->dir, EVENTS) : -1;
    if (wd >= 0)
        vec_push(&w->list, ((struct watched){.sr = steal(&r->sr), .wd = wd}));
    else if (r->dir)
        log_warn("event=not-watched sr=%s folder=%s errno=%d", r->sr, r->dir, errno);
    free(r->sr);
    free(r->dir);
    free(r);
}

static void post(struct host *h, const char *sr_uuid, const char *dir)
{
    if (!h->mon)
        return;
    struct request *r = mem_new(struct request);
    r->host = h;
    r->sr = mem_strdup(sr_uuid);
    r->dir = dir ? mem_strdup(dir) : NULL;
    loop_post(h->mon, apply, r);
}

void sr_watch(struct host *h, const char *sr_uuid, const char *dir)
{
    post(h, sr_uuid, dir);
}

void sr_watch_end(struct host *h, const char *sr_uuid)
{
    post(h, sr_uuid, NULL);
}

void sr_watches_free(struct host *h)
{
    struct sr_watches *w = h->watches;
    if (!w)
        return;
    loop_fd_del(w->on_fd);
    loop_timer_free(w->timer);
    fd_close(w->fd);
    vec_each (x, &w->list)
        free(x->sr);
    vec_done(&w->list);
    free(w);
    h->watches = NULL;
}
