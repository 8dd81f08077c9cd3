/*
 * audit.c: the audit log: lines, their file, its turns. See audit.h.
 *
 * One mutex guards what waits to be written; the writing thread takes all of it and writes without
 * the mutex. What could not be written goes back to the front.
 */
#define LOG_MODULE "audit"
#include "api/audit.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "api/audit_file.h"
#include "base/buf.h"
#include "base/fd.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/str.h"
#include "loop/loop.h"

#define WAITING_MAX (1u << 20)
#define LINE_BYTES  (16u << 10)
#define RETRY_US    (2 * USEC_PER_SEC)
#define GATHER_US   (10 * USEC_PER_MSEC) /* what comes so soon after a line is written with it */

struct audit {
    struct audit_file file; /* the writing thread's, and under `reading` */
    char *hostname;
    struct mutex mutex; /* guards all below */
    pthread_cond_t work, idle;
    struct buf waiting;
    uint64_t lost; /* lines that found no room */
    bool writing, ending;
    bool gathering;      /* lines wait, and the thread for more of them */
    unsigned in_a_hurry; /* who waits until all is written */
    bool troubled;       /* the last try to write failed */
    void (*trouble)(void *arg, const char *why);
    void *arg;
    pthread_t thread;
};

static void *audit_thread(void *arg);

struct audit *audit_new(const struct audit_config *cfg)
{
    struct audit *a = mem_new(struct audit);
    audit_file_init(&a->file, cfg->path, cfg->file_bytes, cfg->files);
    a->hostname = mem_strdup(cfg->hostname ? cfg->hostname : "localhost");
    a->trouble = cfg->trouble;
    a->arg = cfg->arg;
    mutex_init(&a->mutex, LOCK_LEAF);
    pthread_cond_init(&a->work, NULL);
    pthread_cond_init(&a->idle, NULL);
    buf_init(&a->waiting, WAITING_MAX);
    if (pthread_create(&a->thread, NULL, audit_thread, a) != 0)
        abort();
    return a;
}

void audit_free(struct audit *a)
{
    if (!a)
        return;
    mutex_lock(&a->mutex);
    a->ending = true;
    pthread_cond_signal(&a->work);
    mutex_unlock(&a->mutex);
    pthread_join(a->thread, NULL);
    audit_file_done(&a->file);
    buf_done(&a->waiting);
    pthread_cond_destroy(&a->work);
    pthread_cond_destroy(&a->idle);
    mutex_done(&a->mutex);
    free(a->hostname);
    free(a);
}

void audit_set_trouble(struct audit *a, void (*trouble)(void *arg, const char *why), void *arg)
{
    if (!a)
        return;
    mutex_lock(&a->mutex);
    a->trouble = trouble;
    a->arg = arg;
    mutex_unlock(&a->mutex);
}

/* ---- lines ---- */

/* A word of the part in brackets: what ends it must not come from outside. */
static void put_word(struct buf *b, const char *text)
{
    for (const char *c = text; *c; c++)
        buf_putc(b, (unsigned char)*c < ' ' || strchr("|[]", *c) ? '_' : *c);
}

static void put_time(struct buf *b)
{
    usec_t now = clock_wall();
    unsigned ms = (unsigned)(now / USEC_PER_MSEC % 1000);
    char text[DATETIME_SIZE];
    str_datetime((int64_t)(now / USEC_PER_SEC), text);
    const char rest[] = {'.', (char)('0' + ms / 100), (char)('0' + ms / 10 % 10),
                         (char)('0' + ms % 10), 'Z'};
    buf_put(b, text, strlen(text) - 1); /* without its Z */
    buf_put(b, rest, sizeof(rest));
}

static const char *role_of(const struct caller *c)
{
    if (c->superuser)
        return "local-root";
    for (int i = ROLE_N - 1; i >= 0; i--)
        if (c->roles & (1u << i))
            return desc_role_name((enum role)i);
    return "none";
}

static void put_head(struct buf *b, const struct audit *a, const struct audit_entry *en)
{
    const struct caller *c = en->caller;
    buf_putc(b, '[');
    put_time(b);
    buf_puts(b, "|info|");
    put_word(b, a->hostname);
    buf_putc(b, '|');
    put_word(b, c->client);
    buf_puts(b, " originator=");
    put_word(b, c->originator);
    buf_putc(b, '|');
    put_word(b, en->call ? en->call : en->action);
    buf_puts(b, " R:");
    put_word(b, en->task ? en->task : "");
    buf_puts(b, " role=");
    buf_puts(b, role_of(c));
    buf_puts(b, "|audit] ");
}

#define TRACKID_SIZE 33

static void make_trackid(const char *session, char *ret)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char h[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    EVP_Digest(session, strlen(session), h, &n, EVP_sha256(), NULL);
    for (unsigned i = 0; i < TRACKID_SIZE / 2; i++) {
        ret[2 * i] = digits[h[i] >> 4];
        ret[2 * i + 1] = digits[h[i] & 15];
    }
    ret[TRACKID_SIZE - 1] = '\0';
}

/* What a session can be followed by, without giving it away. Mostly the same one calls again. */
static void put_trackid(struct buf *b, const char *session)
{
    static _Thread_local char last[64], trackid[TRACKID_SIZE];
    if (!*trackid || strcmp(last, session) != 0) {
        make_trackid(session, trackid);
        snprintf(last, sizeof(last), "%s", session);
    }
    buf_puts(b, "'trackid=");
    buf_puts(b, trackid);
    buf_putc(b, '\'');
}

static const char *subject_of(const struct caller *c)
{
    if (c->superuser)
        return "LOCAL_SUPERUSER";
    return c->user_sid;
}

static void put_expression(struct buf *b, const struct audit_entry *en)
{
    bool denied = err_is(en->e, "RBAC_PERMISSION_DENIED");
    _cleanup_(freep) char *outcome = en->e ? mem_printf("ERROR:%s", err_code(en->e)) : NULL;
    buf_putc(b, '(');
    put_trackid(b, en->caller->session);
    const char *const words[] = {subject_of(en->caller),
                                 en->caller->user_name,
                                 denied ? "DENIED" : "ALLOWED",
                                 outcome ? outcome : "OK",
                                 str_starts(en->action, "http/") ? "HTTP" : "API",
                                 en->action};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        buf_putc(b, ' ');
        audit_put_text(b, words[i]);
    }
    buf_puts(b, " (");
    buf_puts(b, en->args ? en->args : "");
    buf_puts(b, "))\n");
}

/* One that finds no room is counted. */
static void put_line(struct audit *a, struct buf *line)
{
    mutex_lock(&a->mutex);
    if (buf_ok(line) && line->size <= WAITING_MAX - a->waiting.size)
        buf_put(&a->waiting, buf_str(line), line->size);
    else
        a->lost++;
    bool wake = !a->gathering || a->waiting.size > WAITING_MAX / 2;
    mutex_unlock(&a->mutex);
    if (wake)
        pthread_cond_signal(&a->work);
}

void audit_put(struct audit *a, const struct audit_entry *en)
{
    if (!a)
        return;
    _cleanup_(buf_done) struct buf line;
    buf_init(&line, LINE_BYTES);
    put_head(&line, a, en);
    put_expression(&line, en);
    put_line(a, &line);
}

void audit_append(struct audit *a, const char *text)
{
    if (!a)
        return;
    _cleanup_(buf_done) struct buf line;
    buf_init(&line, LINE_BYTES);
    buf_puts(&line, text);
    buf_putc(&line, '\n');
    put_line(a, &line);
}

/* ---- the thread ---- */

/* How many lines found no room: in the form of a line, so that readers need not know of it. */
static void tell_lost(struct audit *a)
{
    _cleanup_(buf_done) struct buf b;
    mutex_lock(&a->mutex);
    uint64_t lost = a->lost;
    mutex_unlock(&a->mutex);
    buf_init(&b, LINE_BYTES);
    if (!lost)
        return;
    buf_putc(&b, '[');
    put_time(&b);
    buf_puts(&b, "|warn|");
    put_word(&b, a->hostname);
    buf_printf(&b, "|internal|audit|audit] ('lost' '%" PRIu64 "')\n", lost);
    if (audit_file_write(&a->file, buf_str(&b), b.size) < 0)
        return;
    mutex_lock(&a->mutex);
    a->lost -= lost;
    mutex_unlock(&a->mutex);
}

/* A wake-up and a write for each line of many would cost more than the calls that they tell of. */
static void gather(struct audit *a)
{
    usec_t until = clock_now() + GATHER_US;
    a->gathering = true;
    while (!a->ending && !a->in_a_hurry && a->waiting.size <= WAITING_MAX / 2 &&
           clock_wait(&a->work, &a->mutex.m, until))
        ;
    a->gathering = false;
}

/* All that waits; false when it is time to end. */
static bool take(struct audit *a, struct buf *ret)
{
    mutex_lock(&a->mutex);
    a->writing = false;
    pthread_cond_broadcast(&a->idle);
    while (!a->waiting.size && !a->ending)
        cond_wait(&a->work, &a->mutex);
    gather(a);
    struct buf taken = a->waiting;
    a->waiting = *ret;
    *ret = taken;
    a->writing = true;
    bool go_on = ret->size || !a->ending;
    mutex_unlock(&a->mutex);
    return go_on;
}

/* Puts lines that could not be written before those that have come since. */
static void put_back(struct audit *a, struct buf *lines, const char *why)
{
    mutex_lock(&a->mutex);
    bool first = !a->troubled;
    void (*trouble)(void *, const char *) = a->trouble;
    void *arg = a->arg;
    a->troubled = true;
    if (a->waiting.size <= WAITING_MAX - lines->size) {
        buf_put(lines, buf_str(&a->waiting), a->waiting.size);
        struct buf newer = a->waiting;
        a->waiting = *lines;
        *lines = newer;
    } else {
        for (const char *c = buf_str(lines); *c; c++)
            a->lost += *c == '\n';
    }
    mutex_unlock(&a->mutex);
    buf_clear(lines);
    if (!first)
        return;
    log_err("event=audit-trouble file='%s' error='%s'", a->file.path, why);
    if (trouble)
        trouble(arg, why);
}

static void pause_for_a_while(struct audit *a)
{
    usec_t until = clock_now() + RETRY_US;
    mutex_lock(&a->mutex);
    a->writing = false;
    pthread_cond_broadcast(&a->idle);
    while (!a->ending && clock_wait(&a->work, &a->mutex.m, until))
        ;
    mutex_unlock(&a->mutex);
}

static void went_well(struct audit *a, struct buf *lines)
{
    buf_clear(lines);
    mutex_lock(&a->mutex);
    a->troubled = false;
    mutex_unlock(&a->mutex);
}

static bool is_ending(struct audit *a)
{
    mutex_lock(&a->mutex);
    bool ending = a->ending;
    mutex_unlock(&a->mutex);
    return ending;
}

static void *audit_thread(void *arg)
{
    struct audit *a = arg;
    _cleanup_(buf_done) struct buf lines;
    buf_init(&lines, WAITING_MAX);
    pthread_setname_np(pthread_self(), "audit");
    while (take(a, &lines)) {
        int r = audit_file_write(&a->file, buf_str(&lines), lines.size);
        if (r == 0) {
            went_well(a, &lines);
            tell_lost(a);
            continue;
        }
        put_back(a, &lines, strerror(-r));
        if (is_ending(a))
            break;
        pause_for_a_while(a);
    }
    return NULL;
}

void audit_flush(struct audit *a)
{
    if (!a)
        return;
    mutex_lock(&a->mutex);
    a->in_a_hurry++;
    pthread_cond_signal(&a->work);
    while ((a->waiting.size || a->writing) && !a->troubled)
        cond_wait(&a->idle, &a->mutex);
    a->in_a_hurry--;
    mutex_unlock(&a->mutex);
}

struct err *audit_read(struct audit *a, const char *since,
                       int (*put)(void *arg, const void *p, size_t size), void *arg)
{
    if (!a)
        return NULL;
    audit_flush(a);
    return audit_file_read(&a->file, since, put, arg);
}
