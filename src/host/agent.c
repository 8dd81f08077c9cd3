/*
 * agent.c: the guest agent's questions and answers.
 *
 *     closed --port opened--> sync --its number comes back--> info -> os -> networks -> idle
 *                              ^                                                          |
 *                              |            '-> asked (what somebody wants to know) -----> |
 *                              '--------------------- 5 s later, or no answer in 5 s -----'
 *
 * Answers carry no id, so each round begins with guest-sync and a fresh number: what comes before
 * it is a late answer and dropped. What the guest says is outside data: bounded, parsed strictly,
 * and copied field by field. Runs on the mon loop.
 */
#include "host/agent.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "codec/json.h"

#undef LOG_MODULE
#define LOG_MODULE   "agent"

#define LINE_CEILING (256U << 10)
#define PERIOD       (5 * USEC_PER_SEC)
#define SILENCE      (15 * USEC_PER_SEC)
#define TEXT_CEILING 256
#define NETS_MAX     32
#define ADDRS_MAX    32

enum agent_state {
    AGENT_CLOSED,
    AGENT_SYNC,
    AGENT_INFO,
    AGENT_OS,
    AGENT_NETS,
    AGENT_IDLE,
    AGENT_ASKED,
};

struct agent {
    struct loop *loop;
    int fd;
    struct loop_fd *watch;
    struct loop_timer *timer;
    agent_data_fn on_data;
    void *arg;
    enum agent_state state;
    int64_t sync;
    usec_t heard; /* when it last answered, 0 never */
    struct buf in;
    struct val *info, *os, *nets;
    struct val *told; /* what on_data was last given */

    char *question; /* NULL: nobody asks; `answer` is told then */
    agent_answer_fn answer;
    void *answer_arg;
};

static void on_input(void *arg, int fd, unsigned events);
static void on_timer(void *arg);

struct agent *agent_new(struct loop *l, int fd, agent_data_fn on_data, void *arg)
{
    struct agent *a = mem_new(struct agent);
    a->loop = l;
    a->fd = fd;
    a->on_data = on_data;
    a->arg = arg;
    a->told = val_map();
    buf_init(&a->in, LINE_CEILING);
    (void)fd_set_nonblocking(fd);
    a->watch = loop_fd_add(l, fd, LOOP_READ, on_input, a);
    a->timer = loop_timer_new(l, on_timer, a);
    return a;
}

/* Takes e over. */
static void answer(struct agent *a, struct err *e, const struct val *result)
{
    if (!a->question) {
        err_free(e);
        return;
    }
    free(steal(&a->question));
    a->answer(a->answer_arg, e, result);
}

void agent_free(struct agent *a)
{
    if (!a)
        return;
    answer(a, err_internal("the guest has ended"), NULL);
    loop_fd_del(a->watch);
    loop_timer_free(a->timer);
    fd_close(a->fd);
    buf_done(&a->in);
    val_unref(a->info);
    val_unref(a->os);
    val_unref(a->nets);
    val_unref(a->told);
    free(a);
}

bool agent_is_alive(const struct agent *a)
{
    return a && a->heard && clock_now() - a->heard < SILENCE;
}

static bool send_text(struct agent *a, const char *text)
{
    size_t size = strlen(text);
    return send(a->fd, text, size, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)size;
}

static void tell(struct agent *a, struct val *data)
{
    if (val_equal(data, a->told)) {
        val_unref(data);
        return;
    }
    val_unref(a->told);
    a->told = data;
    a->on_data(a->arg, data);
}

static void begin_round(struct agent *a)
{
    char text[96];
    a->sync = (int64_t)(clock_now() & 0x7fffffff);
    snprintf(text, sizeof(text), "{\"execute\":\"guest-sync\",\"arguments\":{\"id\":%lld}}\n",
             (long long)a->sync);
    buf_clear(&a->in);
    a->state = AGENT_SYNC;
    (void)send_text(a, text);
    loop_timer_set(a->timer, clock_now() + PERIOD);
}

static void on_timer(void *arg)
{
    struct agent *a = arg;
    if (a->state == AGENT_CLOSED)
        return;
    if (a->state == AGENT_ASKED)
        answer(a, err_internal("the guest agent gives no answer"), NULL);
    if (a->heard && clock_now() - a->heard >= SILENCE) {
        a->heard = 0;
        answer(a, err_internal("the guest agent is silent"), NULL);
        tell(a, val_map());
    }
    begin_round(a);
}

void agent_set_open(struct agent *a, bool open)
{
    if (open == (a->state != AGENT_CLOSED))
        return;
    if (open) {
        begin_round(a);
        return;
    }
    a->state = AGENT_CLOSED;
    a->heard = 0;
    answer(a, err_internal("the guest agent has gone"), NULL);
    loop_timer_stop(a->timer);
    tell(a, val_map());
}

struct err *agent_shutdown(struct agent *a, bool reboot)
{
    if (!agent_is_alive(a))
        return err_internal("no guest agent answers");
    if (!send_text(a, reboot ? "{\"execute\":\"guest-shutdown\",\"arguments\":{\"mode\":"
                               "\"reboot\"}}\n"
                             : "{\"execute\":\"guest-shutdown\",\"arguments\":{\"mode\":"
                               "\"powerdown\"}}\n"))
        return err_internal("the guest agent takes no request");
    return NULL;
}

void agent_ask(struct agent *a, const char *line, agent_answer_fn fn, void *arg)
{
    if (!agent_is_alive(a) || a->question) {
        fn(arg, err_internal(a->question ? "the guest agent is busy" : "no guest agent answers"),
           NULL);
        return;
    }
    a->question = mem_printf("%s\n", line);
    a->answer = fn;
    a->answer_arg = arg;
    if (a->state == AGENT_IDLE)
        begin_round(a);
}

void agent_forget(struct agent *a)
{
    if (a)
        free(steal(&a->question));
}

static void send_question(struct agent *a)
{
    a->state = AGENT_ASKED;
    if (!send_text(a, a->question))
        answer(a, err_internal("the guest agent takes no request"), NULL);
}

static void keep(struct val **slot, const struct val *reply)
{
    const struct val *result = val_map_get(reply, "return");
    val_unref(*slot);
    *slot = result ? val_ref(result) : NULL;
}

/* What somebody wants to know goes first. */
static void rest(struct agent *a)
{
    a->state = AGENT_IDLE;
    loop_timer_set(a->timer, clock_now() + PERIOD);
    if (a->question)
        begin_round(a);
}

static void end_round(struct agent *a)
{
    tell(a, agent_data(a->info, a->os, a->nets));
    rest(a);
}

static void take_answer(struct agent *a, const struct val *reply)
{
    const struct val *result = val_map_get(reply, "return"), *error = val_map_get(reply, "error");
    bool told = error && val_kind(error) == VAL_MAP;
    if (!result && !told)
        return;
    answer(a,
           result ? NULL : err_internal("the guest agent: %.200s", val_map_str(error, "desc", "")),
           result);
    rest(a);
}

static void take(struct agent *a, const struct val *reply)
{
    const struct val *result = val_map_get(reply, "return");
    switch (a->state) {
    case AGENT_SYNC:
        if (!result || val_kind(result) != VAL_INT || val_get_int(result) != a->sync)
            return;
        a->heard = clock_now();
        if (a->question) {
            send_question(a);
            return;
        }
        a->state = AGENT_INFO;
        (void)send_text(a, "{\"execute\":\"guest-info\"}\n");
        return;
    case AGENT_INFO:
        keep(&a->info, reply);
        a->state = AGENT_OS;
        (void)send_text(a, "{\"execute\":\"guest-get-osinfo\"}\n");
        return;
    case AGENT_OS:
        keep(&a->os, reply);
        a->state = AGENT_NETS;
        (void)send_text(a, "{\"execute\":\"guest-network-get-interfaces\"}\n");
        return;
    case AGENT_NETS:
        keep(&a->nets, reply);
        end_round(a);
        return;
    case AGENT_ASKED:
        take_answer(a, reply);
        return;
    case AGENT_CLOSED:
    case AGENT_IDLE:
        return;
    }
}

static void take_line(struct agent *a, struct view line)
{
    _cleanup_(val_unrefp) struct val *reply = NULL;
    /* guest-sync may be answered with a leading 0xff */
    while (line.size && (unsigned char)line.p[0] == 0xff)
        line = view_cut(line, 1);
    if (json_parse(line, &reply) == 0 && val_kind(reply) == VAL_MAP)
        take(a, reply);
}

static void on_input(void *arg, int fd, unsigned events)
{
    struct agent *a = arg;
    char room[8192], *end;
    ssize_t n = recv(fd, room, sizeof(room), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        loop_fd_set(a->watch, 0);
        agent_set_open(a, false);
        return;
    }
    if (a->state == AGENT_CLOSED)
        agent_set_open(a, true);
    buf_put(&a->in, room, (size_t)n);
    if (!buf_ok(&a->in)) {
        buf_clear(&a->in);
        log_warn("event=too-much text=ignoring");
    }
    while (a->in.size && (end = memchr(a->in.data, '\n', a->in.size))) {
        size_t size = (size_t)(end - a->in.data);
        _cleanup_(freep) char *line = mem_strndup(a->in.data, size);
        buf_consume(&a->in, size + 1);
        take_line(a, view_of(line));
    }
}

/* --- what it means --- */

static const struct val *member(const struct val *map, const char *key, enum val_kind kind)
{
    if (!map || val_kind(map) != VAL_MAP)
        return NULL;
    const struct val *v = val_map_get(map, key);
    return v && val_kind(v) == kind ? v : NULL;
}

/* Copies a text if it is there and not absurdly long. */
static void copy_text(struct val *to, const char *to_key, const struct val *from, const char *key)
{
    const struct val *v = member(from, key, VAL_STRING);
    if (v && strlen(val_get_str(v)) <= TEXT_CEILING)
        val_put_str(to, to_key, val_get_str(v));
}

static struct val *os_version(const struct val *os)
{
    struct val *v = val_map();
    copy_text(v, "name", os, "pretty-name");
    copy_text(v, "distro", os, "id");
    copy_text(v, "uname", os, "kernel-release");
    const struct val *version = member(os, "version-id", VAL_STRING);
    unsigned major = 0, minor = 0;
    int n = version ? sscanf(val_get_str(version), "%4u.%4u", &major, &minor) : 0;
    char text[16];
    snprintf(text, sizeof(text), "%u", major);
    if (n >= 1)
        val_put_str(v, "major", text);
    snprintf(text, sizeof(text), "%u", minor);
    if (n >= 2)
        val_put_str(v, "minor", text);
    return v;
}

static void put_addresses(struct val *to, unsigned nic, const struct val *addresses)
{
    unsigned n4 = 0, n6 = 0;
    for (size_t i = 0; i < val_count(addresses) && i < ADDRS_MAX; i++) {
        const struct val *ip = member(val_at(addresses, i), "ip-address", VAL_STRING);
        const struct val *type = member(val_at(addresses, i), "ip-address-type", VAL_STRING);
        char key[32];
        if (!ip || !type || strlen(val_get_str(ip)) > TEXT_CEILING)
            continue;
        bool v4 = str_eq(val_get_str(type), "ipv4");
        snprintf(key, sizeof(key), "%u/ip", nic);
        if (v4 && n4 == 0)
            val_put_str(to, key, val_get_str(ip));
        snprintf(key, sizeof(key), "%u/%s/%u", nic, v4 ? "ipv4" : "ipv6", v4 ? n4++ : n6++);
        val_put_str(to, key, val_get_str(ip));
    }
}

/* Interfaces are numbered in the order the guest lists them, without the loopback. */
static struct val *networks(const struct val *nets)
{
    struct val *v = val_map();
    unsigned nic = 0;
    for (size_t i = 0; nets && val_kind(nets) == VAL_SET && i < val_count(nets) && i < NETS_MAX;
         i++) {
        const struct val *name = member(val_at(nets, i), "name", VAL_STRING);
        if (!name || str_eq(val_get_str(name), "lo"))
            continue;
        const struct val *addresses = member(val_at(nets, i), "ip-addresses", VAL_SET);
        if (addresses)
            put_addresses(v, nic, addresses);
        nic++;
    }
    return v;
}

struct val *agent_data(const struct val *info, const struct val *os, const struct val *nets)
{
    struct val *data = val_map(), *other = val_map();
    val_put(data, "os_version", os_version(os));
    val_put(data, "networks", networks(nets));
    val_put_str(other, "feature-shutdown", "1");
    val_put_str(other, "feature-reboot", "1");
    val_put(data, "other", other);
    val_put_str(data, "version", "");
    copy_text(data, "version", info, "version");
    return data;
}
