/* ctl.c: see ctl.h. A connection carries one line and its answer, so a struct client is a small
 * machine: reading the line -> writing the answer -> gone. */
#include "loop/ctl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LOG_MODULE "ctl"
#include "base/fd.h"
#include "base/log.h"
#include "base/vec.h"

#define LINE_MAX_SIZE 4096
#define ANSWER_MAX    (16u << 20)
#define WORDS_MAX     32
#define CLIENTS_MAX   32
#define CLIENT_TIME   (30 * USEC_PER_SEC)

struct command {
    const char *name, *usage;
    ctl_fn fn;
    void *arg;
};
static VEC(struct command) commands;

struct client {
    struct ctl *ctl;
    int fd;
    struct loop_fd *watch;
    struct loop_timer *timer;
    struct buf line, answer;
};

struct ctl {
    struct loop *l;
    char *path;
    int fd;
    struct loop_fd *watch;
    VEC(struct client *) clients;
};

static struct command *find_command(const char *name)
{
    vec_each (c, &commands)
        if (str_eq(c->name, name))
            return c;
    return NULL;
}

void ctl_register(const char *name, const char *usage, ctl_fn fn, void *arg)
{
    struct command fresh = {.name = name, .usage = usage, .fn = fn, .arg = arg};
    struct command *old = find_command(name);
    if (old)
        *old = fresh;
    else
        vec_push(&commands, fresh);
}

static struct err *help(void *arg, unsigned argc, const char *const *argv, struct buf *out)
{
    vec_each (c, &commands)
        buf_printf(out, "%s%s%s\n", c->name, *c->usage ? " " : "", c->usage);
    return NULL;
}

static struct err *set_log(void *arg, unsigned argc, const char *const *argv, struct buf *out)
{
    enum log_level level;
    if (argc != 3 || log_parse_level(argv[2], &level) < 0)
        return err_internal("usage: log MODULE|* err|warn|info|debug");
    log_set_level(str_eq(argv[1], "*") ? NULL : argv[1], level);
    return NULL;
}

static struct err *show_loops(void *arg, unsigned argc, const char *const *argv, struct buf *out)
{
    loop_dump(out);
    return NULL;
}

static void register_own(void)
{
    if (find_command("help"))
        return;
    ctl_register("help", "", help, NULL);
    ctl_register("log", "MODULE|* err|warn|info|debug", set_log, NULL);
    ctl_register("loops", "", show_loops, NULL);
}

/* Takes the next word off *line and writes it, NUL-terminated, to *at, which it moves on. */
static bool next_word(struct view *line, char **at)
{
    *line = view_trim(*line);
    if (!line->size)
        return false;
    bool quoted = false;
    size_t i = 0;
    for (; i < line->size; i++) {
        char c = line->p[i];
        if (!quoted && (c == ' ' || c == '\t'))
            break;
        if (c == '"') {
            quoted = !quoted;
            continue;
        }
        if (quoted && c == '\\' && i + 1 < line->size)
            c = line->p[++i];
        *(*at)++ = c;
    }
    *(*at)++ = '\0';
    *line = view_cut(*line, i);
    return true;
}

static struct err *run_words(unsigned argc, const char *const *argv, struct buf *out)
{
    register_own();
    const struct command *c = argc ? find_command(argv[0]) : NULL;
    if (!c)
        return err_internal("no command '%s'; try help", argc ? argv[0] : "");
    return c->fn(c->arg, argc, argv, out);
}

void ctl_run(struct view line, struct buf *out)
{
    char words[LINE_MAX_SIZE + WORDS_MAX + 1], *at = words;
    const char *argv[WORDS_MAX + 1] = {0};
    unsigned argc = 0;
    if (line.size > LINE_MAX_SIZE || memchr(line.p, '\0', line.size)) {
        buf_puts(out, "error the line is too long or not text\n");
        return;
    }
    for (char *word = at; argc < WORDS_MAX && next_word(&line, &at); word = at)
        argv[argc++] = word;
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, ANSWER_MAX);
    _cleanup_(err_freep) struct err *e = run_words(argc, argv, &text);
    if (e)
        buf_printf(out, "error %s\n", err_n_params(e) ? err_param(e, 0) : err_code(e));
    else
        buf_puts(out, "ok\n");
    buf_put(out, text.data, text.size);
}

static void client_free(struct client *c)
{
    loop_fd_del(c->watch);
    loop_timer_free(c->timer);
    fd_close(c->fd);
    buf_done(&c->line);
    buf_done(&c->answer);
    free(c);
}

static void drop_client(void *arg)
{
    struct client *c = arg;
    struct ctl *ctl = c->ctl;
    for (size_t i = 0; i < ctl->clients.n; i++)
        if (ctl->clients.v[i] == c) {
            vec_remove(&ctl->clients, i);
            break;
        }
    client_free(c);
}

static void write_answer(struct client *c)
{
    ssize_t n = send(c->fd, c->answer.data, c->answer.size, MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        buf_consume(&c->answer, (size_t)n);
    if (n <= 0 || !c->answer.size)
        drop_client(c);
}

/* The line ends at LF or where the client stops sending. */
static void read_line(struct client *c)
{
    char *at = buf_reserve(&c->line, 512);
    ssize_t n = at ? read(c->fd, at, 512) : -1;
    if (n < 0 && at && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        drop_client(c);
        return;
    }
    buf_added(&c->line, (size_t)n);
    struct view rest = {buf_str(&c->line), c->line.size}, line;
    if (!view_split(&rest, '\n', &line) && n > 0)
        return;
    ctl_run(line, &c->answer);
    loop_fd_set(c->watch, LOOP_WRITE);
}

static void on_client(void *arg, int fd, unsigned events)
{
    struct client *c = arg;
    if (c->answer.size)
        write_answer(c);
    else
        read_line(c);
}

static bool is_allowed(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
           (peer.uid == 0 || peer.uid == geteuid());
}

static void on_connect(void *arg, int fd, unsigned events)
{
    struct ctl *ctl = arg;
    int s = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (s < 0)
        return;
    if (!is_allowed(s) || ctl->clients.n >= CLIENTS_MAX) {
        log_warn("event=control-refused clients=%zu", ctl->clients.n);
        fd_close(s);
        return;
    }
    struct client *c = mem_new(struct client);
    c->ctl = ctl;
    c->fd = s;
    buf_init(&c->line, 2 * LINE_MAX_SIZE);
    buf_init(&c->answer, ANSWER_MAX + LINE_MAX_SIZE);
    c->watch = loop_fd_add(ctl->l, s, LOOP_READ, on_client, c);
    c->timer = loop_timer_new(ctl->l, drop_client, c);
    loop_timer_set(c->timer, clock_now() + CLIENT_TIME);
    vec_push(&ctl->clients, c);
}

struct err *ctl_listen(struct loop *l, const char *path, struct ctl **ret)
{
    int fd = fd_listen_unix(path, 0600);
    if (fd < 0)
        return err_errno(-fd, "cannot listen on '%s'", path);
    register_own();
    struct ctl *ctl = mem_new(struct ctl);
    ctl->l = l;
    ctl->path = mem_strdup(path);
    ctl->fd = fd;
    ctl->watch = loop_fd_add(l, fd, LOOP_READ, on_connect, ctl);
    *ret = ctl;
    return NULL;
}

void ctl_free(struct ctl *c)
{
    if (!c)
        return;
    vec_each (client, &c->clients)
        client_free(*client);
    vec_done(&c->clients);
    loop_fd_del(c->watch);
    fd_close(c->fd);
    unlink(c->path);
    free(c->path);
    free(c);
}

ssize_t ctl_call(const char *path, const char *line, struct buf *ret)
{
    _cleanup_(fd_closep) int fd = fd_connect_unix(path);
    if (fd < 0)
        return fd;
    int r = fd_write_all(fd, line, strlen(line));
    if (r < 0)
        return r;
    shutdown(fd, SHUT_WR);
    for (;;) {
        char *at = buf_reserve(ret, 4096);
        if (!at)
            return -E2BIG;
        ssize_t n = read(fd, at, 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : (ssize_t)ret->size;
        buf_added(ret, (size_t)n);
    }
}
