/* transfer.c: files; see transfer.h. */
#include "xe/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "codec/thin.h"

#define BLOCK           65536
#define HEARTBEAT_S     300
#define MAX_REDIRECTS   5
#define PROGRESS_STEP_S 1

/* ---- names ---- */

/* The absolute path without "." and "..", by its text alone. */
static char *canonical(const char *file)
{
    _cleanup_(freep) char *here = *file == '/' ? mem_strdup("") : getcwd(NULL, 0);
    _cleanup_(freep) char *whole = mem_printf("%s/%s", here ? here : "", file);
    _cleanup_(buf_done) struct buf b;
    struct view rest = view_of(whole), part;
    buf_init(&b, 1 << 16);
    while (rest.size) {
        view_split(&rest, '/', &part);
        if (!part.size || view_eq(part, "."))
            continue;
        if (view_eq(part, "..")) {
            while (b.size > 0 && b.data[--b.size] != '/')
                ;
            continue;
        }
        buf_putc(&b, '/');
        buf_put(&b, part.p, part.size);
    }
    return mem_strdup(b.size ? buf_str(&b) : "/");
}

bool transfer_may_touch(const struct client *c, const char *file)
{
    _cleanup_(freep) char *wanted = canonical(file);
    for (size_t i = 0; i < c->options->words.n; i++) {
        const char *value = strchr(c->options->words.v[i], '=');
        if (!value || !value[1])
            continue;
        _cleanup_(freep) char *named = canonical(value + 1);
        if (strcmp(named, wanted) == 0)
            return true;
    }
    fprintf(stderr,
            "Blocked upload/download of the file %s, which was requested by the server. The file "
            "name was not present on the command line\n",
            file);
    return false;
}

/* ---- talking ---- */

static int send_number(struct client *c, enum thin_tag tag, uint32_t number)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 64);
    thin_put(&b, &(struct thin_msg){.tag = tag, .number = number});
    return link_write(c->link, b.data, b.size);
}

int transfer_answer(struct client *c, unsigned tag)
{
    return send_number(c, (enum thin_tag)tag, 0);
}

static int send_chunk(struct client *c, const void *p, size_t size)
{
    int r = send_number(c, THIN_CHUNK, (uint32_t)size);
    return r < 0 ? r : link_write(c->link, p, size);
}

int transfer_load(struct client *c, const char *file)
{
    char block[BLOCK];
    ssize_t n;
    _cleanup_(fd_closep) int fd = -1;
    if (transfer_may_touch(c, file))
        fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return transfer_answer(c, THIN_FAILED);
    int r = transfer_answer(c, THIN_OK);
    while (r == 0 && (n = read(fd, block, sizeof(block))) > 0)
        r = send_chunk(c, block, (size_t)n);
    return r < 0 ? r : transfer_answer(c, THIN_END);
}

int transfer_prompt(struct client *c)
{
    _cleanup_(freep) char *line = NULL;
    size_t cap = 0;
    ssize_t n = isatty(STDIN_FILENO) ? getline(&line, &cap, stdin) : 0;
    while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
        n--;
    int r = send_chunk(c, n > 0 ? line : "", n > 0 ? (size_t)n : 0);
    return r < 0 ? r : transfer_answer(c, THIN_END);
}

struct link *transfer_open(struct client *c, const char *url, const char **ret_path)
{
    static const char https[] = "https://";
    struct place place = c->place;
    _cleanup_(freep) char *host = NULL, *port = NULL, *why = NULL;
    *ret_path = url;
    if (strncmp(url, https, sizeof(https) - 1) == 0) {
        const char *begin = url + sizeof(https) - 1;
        size_t size = strcspn(begin, "/");
        host = mem_strndup(begin, size);
        char *colon = strrchr(host, ':');
        if (colon && !strchr(colon, ']')) {
            port = mem_strdup(colon + 1);
            *colon = '\0';
        }
        *ret_path = begin[size] ? begin + size : "/";
        place = (struct place){.server = host, .port = port ? port : "443"};
    }
    struct link *l = link_open(&place, &why);
    if (!l)
        fprintf(stderr, "xe: %s\n", why);
    return l;
}

/* ---- progress ---- */

struct progress {
    bool shown;     /* there is somebody to show it to */
    uint64_t total; /* 0: not known */
    uint64_t done;
    time_t beat, line; /* last heartbeat, last line */
};

static void progress_line(const struct progress *p, const char *end)
{
    double mib = (double)p->done / (1 << 20);
    if (p->total)
        fprintf(stderr, "\r%3u %%  %.0f MiB%s", (unsigned)(p->done * 100 / p->total), mib, end);
    else
        fprintf(stderr, "\r%.0f MiB%s", mib, end);
}

/* Counts; shows; tells the server from time to time that we are still at it. */
static int progress_add(struct client *c, struct progress *p, size_t size)
{
    time_t now = time(NULL);
    p->done += size;
    if (p->shown && now - p->line >= PROGRESS_STEP_S) {
        p->line = now;
        progress_line(p, "");
    }
    if (now - p->beat < HEARTBEAT_S)
        return 0;
    p->beat = now;
    return transfer_answer(c, THIN_WAIT);
}

static struct progress progress_new(uint64_t total)
{
    time_t now = time(NULL);
    return (struct progress){isatty(STDERR_FILENO), total, 0, now, now};
}

/* ---- downloads ---- */

/* Opens the URL with a request; follows redirections. The status, or -errno. */
static int request(struct client *c, const char *url, const char *method, const char *headers,
                   struct link **ret, struct buf *text, struct http_head *head)
{
    _cleanup_(freep) char *at = mem_strdup(url);
    for (unsigned n = 0; n < MAX_REDIRECTS; n++) {
        const char *path;
        struct link *l = transfer_open(c, at, &path);
        if (!l)
            return -ECONNREFUSED;
        _cleanup_(freep) char *line = mem_printf("%s %s HTTP/1.0\r\n%s\r\n", method, path, headers);
        int status = link_request(l, line, text, head);
        if (status != 302) {
            *ret = l;
            return status;
        }
        free(at);
        at = view_dup(http_find(head, "location"));
        buf_done(text);
        link_close(l);
    }
    return -ELOOP;
}

/* Everything until the end, into a descriptor. */
static int receive(struct client *c, struct link *l, uint64_t total, int fd)
{
    char block[BLOCK];
    struct progress p = progress_new(total);
    ssize_t n;
    while ((n = link_read(l, block, sizeof(block))) > 0) {
        int r = fd_write_all(fd, block, (size_t)n);
        if (r == 0)
            r = progress_add(c, &p, (size_t)n);
        if (r < 0)
            return r;
    }
    if (p.shown && fd != STDOUT_FILENO)
        progress_line(&p, "\n");
    return n < 0 ? (int)n : 0;
}

/* The file must not exist; "" is the standard output. */
static int open_new(const char *file)
{
    if (!*file)
        return dup(STDOUT_FILENO);
    int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        fprintf(stderr, "Cannot create the file %s: %s\n", file, strerror(errno));
    return fd;
}

static int verdict(struct client *c, int r, const char *what)
{
    if (r < 0)
        fprintf(stderr, "%s failed: %s\n", what, strerror(-r));
    return transfer_answer(c, r < 0 ? THIN_FAILED : THIN_OK);
}

int transfer_get(struct client *c, const char *file, const char *url)
{
    _cleanup_(buf_done) struct buf text = {0};
    struct http_head head;
    struct link *l = NULL;
    _cleanup_(fd_closep) int fd = -1;
    if (*file && !transfer_may_touch(c, file))
        return transfer_answer(c, THIN_FAILED);
    int status = request(c, url, "GET", "", &l, &text, &head);
    int r = status < 0 ? status : -EIO;
    if (status == 200) {
        fd = open_new(file);
        r = fd < 0 ? -EEXIST : receive(c, l, head.has_length ? head.length : 0, fd);
    }
    link_close(l);
    /* A refusal of the server is explained by its task. */
    return status >= 0 && status != 200 ? transfer_answer(c, THIN_FAILED)
                                        : verdict(c, r, "The download");
}

/* ---- uploads ---- */

static int send_file(struct client *c, struct link *l, int fd, uint64_t total)
{
    char block[BLOCK];
    struct progress p = progress_new(total);
    ssize_t n;
    while ((n = read(fd, block, sizeof(block))) > 0) {
        int r = link_write(l, block, (size_t)n);
        if (r == 0)
            r = progress_add(c, &p, (size_t)n);
        if (r < 0)
            return r;
    }
    if (n < 0)
        return -errno;
    link_end(l);
    if (p.shown)
        progress_line(&p, "\n");
    /* The server closes when it has everything. */
    while ((n = link_read(l, block, sizeof(block))) > 0)
        ;
    return 0;
}

int transfer_put(struct client *c, const char *file, const char *url)
{
    _cleanup_(buf_done) struct buf text = {0};
    struct http_head head;
    struct link *l = NULL;
    struct stat st;
    _cleanup_(fd_closep) int fd = -1;
    if (!transfer_may_touch(c, file))
        return transfer_answer(c, THIN_FAILED);
    fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return verdict(c, -errno, file);
    uint64_t size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    _cleanup_(freep) char *length =
        S_ISREG(st.st_mode) ? mem_printf("Content-Length: %llu\r\n", (unsigned long long)size)
                            : mem_strdup("");
    int status = request(c, url, "PUT", length, &l, &text, &head);
    int r = status == 200 ? send_file(c, l, fd, size) : status < 0 ? status : -EIO;
    link_close(l);
    return status >= 0 && status != 200 ? transfer_answer(c, THIN_FAILED)
                                        : verdict(c, r, "The upload");
}
