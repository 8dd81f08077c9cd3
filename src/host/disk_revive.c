/*
 * disk_revive.c: a new cairn-diskd in the place of one that died.
 *
 *     spawn --its socket answers--> told --all answered--> done
 *       ^                                                   |
 *       '--- refused, or dead again: after a pause ---------'
 *
 * On the mon loop, without blocking. Activation that takes long is "pending" and counts as
 * answered: the guest's requests wait meanwhile, which is all they can do.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "codec/json.h"
#include "host/diskctl.h"

#undef LOG_MODULE
#define LOG_MODULE    "disk"

#define CONNECT_EVERY (10 * USEC_PER_MSEC)
#define PAUSE_MAX     (2 * USEC_PER_SEC)
#define PATIENCE      (10 * USEC_PER_SEC)
#define TALK_MAX      (4U << 20)

struct revive {
    struct disk_set *set;
    struct loop_timer *timer;
    int fd;
    struct loop_fd *watch;
    struct buf in;
    size_t expected; /* answers that are to come */
    usec_t pause;
    usec_t since;
};

static void on_timer(void *arg);
static void on_answer(void *arg, int fd, unsigned events);

static void hang_up(struct revive *r)
{
    loop_fd_del(r->watch);
    r->watch = NULL;
    fd_closep(&r->fd);
    buf_clear(&r->in);
}

void disk_revive_stop(struct disk_set *s)
{
    struct revive *r = s->revive;
    if (!r)
        return;
    s->revive = NULL;
    hang_up(r);
    loop_timer_free(r->timer);
    buf_done(&r->in);
    free(r);
}

void disk_revive(struct disk_set *s)
{
    struct revive *r = s->revive;
    if (!r) {
        r = s->revive = mem_new(struct revive);
        r->set = s;
        r->fd = -1;
        r->timer = loop_timer_new(s->dc->host->mon, on_timer, r);
        buf_init(&r->in, TALK_MAX);
    }
    hang_up(r);
    /* One that dies as soon as it is started is started ever more slowly. */
    bool short_lived = s->spawned && clock_now() - s->spawned < USEC_PER_SEC;
    r->pause = short_lived ? (r->pause ? r->pause * 2 : CONNECT_EVERY) : 0;
    if (r->pause > PAUSE_MAX)
        r->pause = PAUSE_MAX;
    r->since = 0;
    loop_timer_set(r->timer, clock_now() + r->pause);
}

static void again(struct revive *r, const char *why)
{
    log_warn("event=not-revived owner=%s reason=\"%s\"", r->set->owner, why);
    diskctl_post(r->set, FACT_DISK_ERROR, why);
    hang_up(r);
    r->since = clock_now();
    loop_timer_set(r->timer, clock_now() + PAUSE_MAX);
}

static void put_line(struct buf *out, struct val *request)
{
    json_put_val(out, request);
    buf_putc(out, '\n');
    val_unref(request);
}

static void tell_all(struct revive *r)
{
    struct disk_set *s = r->set;
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, TALK_MAX);
    pthread_mutex_lock(&s->dc->lock);
    r->expected = 0;
    for (size_t i = 0; i < s->record->n_disks; i++) {
        const struct boot_disk *d = &s->record->disks[i];
        put_line(&out, disk_attach_request(s->dc, s->owner, d));
        r->expected++;
        if (disk_is_paused(s->dc, d->image.path) || d->image.held)
            continue; /* who paused it opens it */
        struct val *activate = disk_activate_request(d);
        val_put_int(activate, "seq", d->device);
        put_line(&out, activate);
        r->expected++;
    }
    pthread_mutex_unlock(&s->dc->lock);
    if (!r->expected) {
        disk_revive_stop(s);
        return;
    }
    if (out.size && send(r->fd, out.data, out.size, MSG_NOSIGNAL) != (ssize_t)out.size) {
        again(r, "cairn-diskd takes no requests");
        return;
    }
    r->watch = loop_fd_add(s->dc->host->mon, r->fd, LOOP_READ, on_answer, r);
    loop_timer_set(r->timer, clock_now() + PATIENCE);
}

static void connect_to(struct revive *r)
{
    _cleanup_(freep) char *socket =
        mem_printf("%s/disk/%s/ctl.sock", r->set->dc->host->run_dir, r->set->owner);
    r->fd = fd_connect_unix(socket);
    if (r->fd >= 0) {
        tell_all(r);
        return;
    }
    r->fd = -1;
    if (clock_now() - r->since > PATIENCE)
        again(r, "cairn-diskd does not answer");
    else
        loop_timer_set(r->timer, clock_now() + CONNECT_EVERY);
}

static void on_timer(void *arg)
{
    struct revive *r = arg;
    if (r->watch) {
        again(r, "cairn-diskd does not answer all");
        return;
    }
    if (!r->set->child) {
        struct err *e = diskctl_spawn(r->set);
        r->since = clock_now();
        if (e) {
            again(r, err_param(e, 0));
            err_free(e);
            return;
        }
    }
    if (!r->since)
        r->since = clock_now();
    connect_to(r);
}

/* What the one that died knew of changed blocks may have gone with it. */
static void look_at_log(struct disk_set *s, const struct val *answer)
{
    const struct val *result = val_map_get(answer, "result"), *seq = val_map_get(answer, "seq");
    if (!result || val_kind(result) != VAL_MAP || !seq || val_kind(seq) != VAL_INT ||
        !str_eq(val_map_str(result, "cbt", ""), "lost"))
        return;
    _cleanup_(freep) char *vdi = NULL;
    pthread_mutex_lock(&s->dc->lock);
    for (size_t i = 0; i < s->record->n_disks; i++)
        if (s->record->disks[i].device == val_get_int(seq))
            vdi = mem_strdup(s->record->disks[i].image.vdi);
    pthread_mutex_unlock(&s->dc->lock);
    if (vdi)
        diskctl_post(s, FACT_CBT_LOST, vdi);
}

static bool take_line(struct revive *r, const char *line)
{
    _cleanup_(val_unrefp) struct val *answer = NULL;
    if (json_parse(view_of(line), &answer) < 0 || val_kind(answer) != VAL_MAP) {
        again(r, "cairn-diskd answered what is no JSON object");
        return false;
    }
    _cleanup_(err_freep) struct err *e = disk_answer_error(answer);
    if (e) {
        again(r, err_param(e, 0));
        return false;
    }
    struct disk_set *s = r->set;
    look_at_log(s, answer);
    if (--r->expected)
        return true;
    log_info("event=revived owner=%s", s->owner);
    disk_revive_stop(s);
    diskctl_post(s, FACT_DISK_OK, "");
    return false;
}

static void on_answer(void *arg, int fd, unsigned events)
{
    struct revive *r = arg;
    char room[4096], *end;
    ssize_t got = recv(fd, room, sizeof(room), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        again(r, "cairn-diskd has hung up");
        return;
    }
    buf_put(&r->in, room, (size_t)got);
    while (r->in.size && (end = memchr(r->in.data, '\n', r->in.size))) {
        size_t size = (size_t)(end - r->in.data);
        _cleanup_(freep) char *line = mem_strndup(r->in.data, size);
        buf_consume(&r->in, size + 1);
        if (!take_line(r, line))
            return;
    }
}
