/* converse.c: see converse.h. */
#include "xe/converse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "codec/thin.h"

/* ---- what is sent ---- */

/* Asks on the terminal, without echo. */
static char *ask_password(const char *user, const char *server)
{
    char line[1024];
    struct termios saved, quiet;
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO) || tcgetattr(STDIN_FILENO, &saved) < 0)
        return NULL;
    quiet = saved;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    fprintf(stderr, "Password for %s on %s: ", user, server);
    char *got = fgets(line, sizeof(line), stdin);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &saved);
    fprintf(stderr, "\n");
    if (!got)
        return NULL;
    line[strcspn(line, "\r\n")] = '\0';
    return mem_strdup(line);
}

/* The local socket knows its peer; elsewhere a user and a password are needed. */
static void complete_login(struct options *o, const struct place *p)
{
    bool is_help = o->words.n && strcmp(o->words.v[0], "help") == 0;
    if ((place_is_local(p) && !o->username) || is_help)
        return;
    if (!o->username && (o->password || isatty(STDIN_FILENO)))
        o->username = mem_strdup("root");
    if (o->username && !o->password)
        o->password = ask_password(o->username, p->server);
}

static void put_request(struct buf *b, const struct options *o)
{
    _cleanup_(buf_done) struct buf body;
    buf_init(&body, 1 << 20);
    for (size_t i = 0; i < o->words.n; i++)
        buf_printf(&body, "%s\n", o->words.v[i]);
    if (o->username)
        buf_printf(&body, "username=%s\n", o->username);
    if (o->password)
        buf_printf(&body, "password=%s\n", o->password);
    if (body.size)
        body.data[--body.size] = '\0';
    buf_printf(b,
               "POST /cli HTTP/1.0\r\nUser-Agent: xe-cli/Unix/%d.%d\r\nOriginator: cli\r\n"
               "Content-Length: %zu\r\n\r\n%s",
               THIN_MAJOR, THIN_MINOR, body.size, buf_str(&body));
}

/* A word with a line break would be two. */
static bool words_are_sound(const struct options *o)
{
    for (size_t i = 0; i < o->words.n; i++)
        if (strchr(o->words.v[i], '\n')) {
            fprintf(stderr, "xe: a word must not contain a line break\n");
            return false;
        }
    return true;
}

/* ---- the conversation ---- */

static int greet(struct client *c)
{
    char hello[THIN_HELLO_SIZE];
    uint32_t minor;
    _cleanup_(buf_done) struct buf b = {0};
    int r = link_read_all(c->link, hello, sizeof(hello));
    if (r < 0)
        return r;
    if (thin_get_hello(hello, &minor) < 0)
        return -EPROTO;
    c->greeted = true;
    buf_init(&b, THIN_HELLO_SIZE);
    thin_put_hello(&b);
    return link_write(c->link, b.data, b.size);
}

static void print(FILE *to, struct view text, const char *end)
{
    fwrite(text.p, 1, text.size, to);
    fputs(end, to);
}

static void print_error(const struct thin_msg *m)
{
    print(stderr, view_of("Error code: "), "");
    print(stderr, m->strings[0], "\nError parameters: ");
    for (unsigned i = 1; i < m->n; i++)
        print(stderr, m->strings[i], i + 1 < m->n ? ", " : "");
    print(stderr, view_of("\n"), "");
}

/* Does what a message asks; 1 with *ret_status at Exit, else 0 or -errno. What is printed is seen
 * before anything else happens. */
static int obey(struct client *c, const struct thin_msg *m, int *ret_status)
{
    if (m->tag == THIN_PRINT) {
        print(c->out, m->strings[0], "\n");
        return 0;
    }
    fflush(c->out);
    _cleanup_(freep) char *a = m->n > 0 ? view_dup(m->strings[0]) : NULL;
    _cleanup_(freep) char *b = m->n > 1 ? view_dup(m->strings[1]) : NULL;
    switch (m->tag) {
    case THIN_PRINT_STDERR:
        print(stderr, m->strings[0], "");
        return 0;
    case THIN_DEBUG:
        if (c->options->debug)
            print(stderr, m->strings[0], "\n");
        return 0;
    case THIN_ERROR:
        print_error(m);
        return 0;
    case THIN_LOAD:
        return transfer_load(c, a);
    case THIN_PROMPT:
        return transfer_prompt(c);
    case THIN_HTTP_GET:
        return transfer_get(c, a, b);
    case THIN_HTTP_PUT:
        return transfer_put(c, a, b);
    case THIN_HTTP_CONNECT:
        return console_connect(c, a);
    case THIN_EXIT:
        *ret_status = m->number == 0 ? 0 : 1;
        return 1;
    default:
        return -EPROTO;
    }
}

static int converse(struct client *c, int *ret_status)
{
    _cleanup_(buf_done) struct buf body;
    buf_init(&body, THIN_MAX_BODY);
    int r = greet(c);
    while (r == 0) {
        char head[4];
        uint32_t size = 0;
        struct thin_msg m;
        if (!link_has_bytes(c->link))
            fflush(c->out);
        buf_clear(&body);
        r = link_read_all(c->link, head, sizeof(head));
        if (r == 0)
            r = thin_get_size(head, &size);
        if (r < 0)
            break;
        char *room = buf_reserve(&body, size);
        r = link_read_all(c->link, room, size);
        if (r == 0)
            r = thin_get((struct view){room, size}, &m);
        if (r == 0)
            r = obey(c, &m, ret_status);
    }
    return r < 0 ? r : 0;
}

static int open_and_converse(struct client *c, const struct options *o, int *ret_status)
{
    _cleanup_(freep) char *why = NULL;
    _cleanup_(buf_done) struct buf request = {0};
    c->link = link_open(&c->place, &why);
    if (!c->link) {
        fprintf(stderr, "xe: %s\n", why);
        return -EHOSTUNREACH;
    }
    buf_init(&request, 2 << 20);
    put_request(&request, o);
    int r = buf_ok(&request) ? link_write(c->link, request.data, request.size) : -E2BIG;
    return r < 0 ? r : converse(c, ret_status);
}

/* Nobody answered in words that are understood: perhaps it speaks TLS. */
static bool try_with_tls(struct client *c, int r)
{
    bool deaf = r == -ENODATA || r == -EPROTO || r == -ECONNRESET || r == -EPIPE;
    if (!deaf || c->greeted || !place_is_doubtful(&c->place))
        return false;
    link_close(c->link);
    c->link = NULL;
    c->place.tls = true;
    return true;
}

static void explain(const struct client *c, int r)
{
    const char *server = c->place.server, *port = c->place.port ? c->place.port : "";
    if (r == -EHOSTUNREACH)
        return; /* told */
    if (c->place.tls && !c->greeted)
        fprintf(stderr,
                "xe: what listens at '%s' port %s speaks the command-line protocol neither plainly "
                "nor by TLS; is it the port of cairnd (listen_http, listen_https)?\n",
                server, port);
    else if (r == -EPROTO)
        fprintf(stderr, "xe: '%s' does not speak the command-line protocol there\n", server);
    else if (r == -ENODATA)
        fprintf(stderr, "xe: lost connection to the server\n");
    else
        fprintf(stderr, "xe: the connection to '%s' failed: %s\n", server, strerror(-r));
}

int converse_run(struct options *o, FILE *out)
{
    int status = 1;
    struct client c = {.options = o, .out = out};
    c.place = (struct place){
        .server = o->server ? o->server : XE_LOCAL_SOCKET, .port = o->port, .plain = o->plain};
    if (!words_are_sound(o))
        return 1;
    complete_login(o, &c.place);
    int r = open_and_converse(&c, o, &status);
    if (try_with_tls(&c, r))
        r = open_and_converse(&c, o, &status);
    fflush(out);
    link_close(c.link);
    if (r < 0)
        explain(&c, r);
    return r < 0 ? 1 : status;
}
