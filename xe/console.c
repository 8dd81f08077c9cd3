/*
 * console.c: a VM's serial console on this terminal; see transfer.h.
 *
 * The terminal goes into raw mode, so that Ctrl-C reaches the guest; Ctrl-] ends the conversation.
 * Without a terminal, standard input is passed on until its end, and then output until the
 * console's: enough for scripts.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"
#include "codec/thin.h"
#include "xe/transfer.h"

#define ESCAPE       0x1d /* Ctrl-] */
#define HEARTBEAT_MS 300000

static int go_raw(struct termios *saved)
{
    struct termios raw;
    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, saved) < 0)
        return -ENOTTY;
    raw = *saved;
    cfmakeraw(&raw);
    return tcsetattr(STDIN_FILENO, TCSANOW, &raw) < 0 ? -errno : 0;
}

/* What was typed, up to the escape key. 0: go on; 1: the end. */
static int pass_input(struct link *l)
{
    char bytes[4096];
    ssize_t n = read(STDIN_FILENO, bytes, sizeof(bytes));
    if (n <= 0)
        return 1;
    const char *escape = isatty(STDIN_FILENO) ? memchr(bytes, ESCAPE, (size_t)n) : NULL;
    size_t size = escape ? (size_t)(escape - bytes) : (size_t)n;
    int r = link_write(l, bytes, size);
    return r < 0 ? r : escape != NULL;
}

/* What the guest printed. */
static int pass_output(struct link *l)
{
    char bytes[4096];
    ssize_t n = link_read(l, bytes, sizeof(bytes));
    if (n <= 0)
        return n < 0 ? (int)n : 1;
    return fd_write_all(STDOUT_FILENO, bytes, (size_t)n);
}

static int relay(struct client *c, struct link *l)
{
    struct pollfd fds[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
                            {.fd = link_fd(l), .events = POLLIN}};
    for (;;) {
        bool waiting = link_has_bytes(l);
        int r = 0, n = poll(fds, 2, waiting ? 0 : HEARTBEAT_MS);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0 && !waiting)
            r = transfer_answer(c, THIN_WAIT);
        if (r == 0 && (waiting || fds[1].revents))
            r = pass_output(l);
        if (r == 0 && n > 0 && fds[0].revents) {
            r = pass_input(l);
            if (r == 1 && !isatty(STDIN_FILENO)) {
                fds[0].fd = -1; /* the guest may still have something to say */
                r = 0;
            }
        }
        if (r != 0)
            return r < 0 ? r : 0;
    }
}

static int attach(struct client *c, struct link *l)
{
    struct termios saved;
    bool raw = go_raw(&saved) == 0;
    int r = relay(c, l);
    if (raw) {
        tcsetattr(STDIN_FILENO, TCSANOW, &saved);
        printf("\r\n");
        fflush(stdout);
    }
    return r;
}

int console_connect(struct client *c, const char *url)
{
    _cleanup_(buf_done) struct buf text = {0};
    struct http_head head;
    const char *path;
    struct link *l = transfer_open(c, url, &path);
    if (!l)
        return transfer_answer(c, THIN_FAILED);
    _cleanup_(freep) char *line =
        mem_printf("CONNECT %s HTTP/1.0\r\nContent-Length: 0\r\n\r\n", path);
    int status = link_request(l, line, &text, &head), r = status == 200 ? attach(c, l) : -EIO;
    link_close(l);
    if (status < 0)
        fprintf(stderr, "The console cannot be reached: %s\n", strerror(-status));
    else if (status == 404)
        fprintf(stderr, "Server replied with HTTP 404: the console is not available\n");
    else if (status != 200)
        fprintf(stderr, "The server refused the console: HTTP %d\n", status);
    else if (r < 0)
        fprintf(stderr, "The console broke off: %s\n", strerror(-r));
    return transfer_answer(c, r < 0 ? THIN_FAILED : THIN_OK);
}
