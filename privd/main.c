/*
 * main.c: cairn-privd, the part of a host that is root.
 *
 *   cairn-privd --socket=PATH --mounts=DIR [--plugins=DIR] [--allow-uid=UID] [--pam-service=NAME]
 *
 * Power: this process keeps root and does nothing with it but fork. It listens on a unix socket
 * that only root and one other uid may use (checked by the peer's credentials, again for each
 * connection), and serves each connection in a child: one request, one line of JSON, one answer.
 * The child dies at its deadline. There is no state, so privd can be killed and started again at
 * any moment. docs/privd.md is the contract.
 *
 * Exit codes: 0 told to end, 1 failed, 2 usage.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "codec/json.h"
#include "privd/verbs.h"

#undef LOG_MODULE
#define LOG_MODULE   "privd"

#define REQUEST_MAX  (1U << 20)
#define ANSWER_MAX   (4U << 20)
#define DEADLINE_S   60
#define CHILDREN_MAX 32

static const char usage[] =
    "usage: cairn-privd --socket=PATH --mounts=DIR [--plugins=DIR] [--allow-uid=UID]\n"
    "                   [--pam-service=NAME]\n";

static volatile sig_atomic_t ending;

static void on_term(int sig)
{
    ending = 1;
}

/* --- one connection, in its child --- */

static int read_request(int sock, struct buf *line)
{
    char room[8192];
    while (!line->size || line->data[line->size - 1] != '\n') {
        ssize_t n = read(sock, room, sizeof(room));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -ECONNRESET;
        buf_put(line, room, (size_t)n);
        if (!buf_ok(line))
            return -E2BIG;
    }
    return 0;
}

static void send_answer(int sock, const struct val *answer, int fd)
{
    _cleanup_(buf_done) struct buf line;
    buf_init(&line, ANSWER_MAX);
    json_put_val(&line, answer);
    buf_putc(&line, '\n');
    int r = fd >= 0 ? fd_send_fds(sock, line.data, line.size, &fd, 1)
                    : fd_write_all(sock, line.data, line.size);
    if (r < 0)
        log_debug("event=answer-not-taken errno=%d", -r);
}

static void serve(const struct privd_config *config, int sock, uid_t uid)
{
    _cleanup_(buf_done) struct buf line;
    buf_init(&line, REQUEST_MAX);
    if (read_request(sock, &line) < 0)
        return;
    _cleanup_(val_unrefp) struct val *request = NULL;
    _cleanup_(val_unrefp) struct val *answer = val_map();
    struct reply reply = {.result = answer, .fd = -1};
    char *problem = json_parse(view_of(buf_str(&line)), &request) < 0
                        ? mem_strdup("the request is not JSON")
                        : verbs_execute(config, uid, request, &reply);
    val_put_bool(answer, "ok", problem == NULL);
    if (problem)
        val_put_str(answer, "error", problem);
    bool object = request && val_kind(request) == VAL_MAP;
    const char *verb = object && val_map_get(request, "verb") &&
                               val_kind(val_map_get(request, "verb")) == VAL_STRING
                           ? val_map_str(request, "verb", "?")
                           : "?";
    log_info("event=request verb=%s uid=%u ok=%d %s", verb, (unsigned)uid, problem == NULL,
             problem ? problem : "");
    free(problem);
    send_answer(sock, answer, reply.fd);
}

/* --- the parent --- */

static bool may_ask(const struct privd_config *c, int sock, uid_t *ret_uid)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);
    if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return false;
    *ret_uid = peer.uid;
    return peer.uid == 0 || peer.uid == c->allowed;
}

static void accept_one(const struct privd_config *c, int listener, unsigned *children)
{
    _cleanup_(fd_closep) int sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    uid_t uid = 0;
    if (sock < 0)
        return;
    if (!may_ask(c, sock, &uid)) {
        log_warn("event=refused uid=%u", (unsigned)uid);
        return;
    }
    pid_t pid = fork();
    if (pid > 0)
        ++*children;
    if (pid != 0)
        return;
    (void)signal(SIGTERM, SIG_DFL);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(DEADLINE_S);
    fd_close(listener);
    serve(c, sock, uid);
    _exit(0);
}

static int run(const struct privd_config *c)
{
    _cleanup_(fd_closep) int listener = fd_listen_unix(c->socket, 0600);
    unsigned children = 0;
    if (listener < 0) {
        fprintf(stderr, "cairn-privd: cannot listen on '%s': %s\n", c->socket, strerror(-listener));
        return 1;
    }
    if (chown(c->socket, c->allowed, (gid_t)-1) < 0) {
        fprintf(stderr, "cairn-privd: cannot hand over '%s': %s\n", c->socket, strerror(errno));
        return 1;
    }
    log_info("event=ready socket=%s allowed=%u", c->socket, (unsigned)c->allowed);
    while (!ending) {
        struct pollfd p = {.fd = listener, .events = POLLIN};
        int ready = poll(&p, 1, children ? 50 : -1);
        while (children && waitpid(-1, NULL, WNOHANG) > 0)
            children--;
        if (ready > 0 && children < CHILDREN_MAX)
            accept_one(c, listener, &children);
    }
    (void)unlink(c->socket);
    return 0;
}

static bool parse(int argc, char **argv, struct privd_config *c)
{
    static const struct option options[] = {
        {"socket", required_argument, NULL, 's'},      {"mounts", required_argument, NULL, 'm'},
        {"plugins", required_argument, NULL, 'p'},     {"allow-uid", required_argument, NULL, 'u'},
        {"pam-service", required_argument, NULL, 'a'}, {NULL, 0, NULL, 0}};
    uint64_t uid = 0;
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (o == 's')
            c->socket = optarg;
        else if (o == 'm')
            c->mounts = optarg;
        else if (o == 'p')
            c->plugins = optarg;
        else if (o == 'a')
            c->pam_service = optarg;
        else if (o != 'u' || str_u64(view_of(optarg), 0, UINT32_MAX - 1, &uid) < 0)
            return false;
    }
    c->allowed = (uid_t)uid;
    return optind == argc && c->socket && c->mounts && c->mounts[0] == '/';
}

int main(int argc, char **argv)
{
    struct privd_config c = {.pam_service = "cairn"};
    if (!parse(argc, argv, &c)) {
        fputs(usage, stderr);
        return 2;
    }
    if (geteuid() != 0) {
        fputs("cairn-privd: this program does what needs root, and is not root\n", stderr);
        return 1;
    }
    umask(022);
    struct sigaction term = {.sa_handler = on_term};
    sigaction(SIGTERM, &term, NULL);
    sigaction(SIGINT, &term, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    return run(&c);
}
