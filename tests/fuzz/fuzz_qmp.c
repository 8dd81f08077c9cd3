/*
 * What QEMU and a guest's agent may say: any bytes behind a monitor's greeting while a command
 * waits for its answer, and any bytes from an agent's port. Nothing may crash, hang or leak. And
 * any text as a boot record: one that is accepted is written and read again, the same.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "host/agent.h"
#include "host/boot.h"
#include "host/mon.h"
#include "host/qmp.h"
#include "tests/fuzz/fuzz.h"

#define GREETING "{\"QMP\":{}}\n{\"return\":{}}\n"
#define SAID_MAX 60000 /* what a socket takes at once */

static struct loop *l;

static void on_event(void *arg, const char *event, const struct val *data)
{
    if (!event || val_kind(data) != VAL_MAP)
        abort();
}

static void on_data(void *arg, const struct val *data)
{
    if (val_kind(data) != VAL_MAP)
        abort();
}

/* A socket on which somebody has said this and says no more, but listens at *ret_peer. */
static int said(const char *first, const uint8_t *data, size_t size, int *ret_peer)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        abort();
    if (fd_write_all(pair[1], first, strlen(first)) < 0 || fd_write_all(pair[1], data, size) < 0)
        abort();
    shutdown(pair[1], SHUT_WR);
    *ret_peer = pair[1];
    return pair[0];
}

static void monitor(const uint8_t *data, size_t size)
{
    struct qmp *q = NULL;
    _cleanup_(fd_closep) int peer = -1;
    usec_t soon = clock_now() + 10 * USEC_PER_SEC;
    err_free(qmp_open(l, said(GREETING, data, size, &peer), on_event, NULL, NULL, soon, &q));
    if (q)
        err_free(qmp_call(q, "query-status", NULL, -1, soon, NULL));
    qmp_close(q);
}

struct port {
    int fd;
    struct agent *agent;
};

static void open_port(void *arg)
{
    struct port *p = arg;
    p->agent = agent_new(l, p->fd, on_data, NULL);
    agent_set_open(p->agent, true);
}

static void close_port(void *arg)
{
    struct port *p = arg;
    agent_free(p->agent);
}

static void agent(const uint8_t *data, size_t size)
{
    _cleanup_(fd_closep) int peer = -1;
    struct port p = {.fd = said("", data, size, &peer)};
    mon_run(l, open_port, &p);
    mon_run(l, close_port, &p);
}

static void record(const char *text)
{
    _cleanup_(boot_freep) struct boot *b = NULL;
    _cleanup_(boot_freep) struct boot *again = NULL;
    struct err *e = boot_parse(text, &b);
    if (e) {
        err_free(e);
        return;
    }
    _cleanup_(freep) char *json = boot_format(b);
    if (boot_parse(json, &again))
        abort(); /* we wrote what we cannot read */
    _cleanup_(freep) char *json2 = boot_format(again);
    if (strcmp(json, json2) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!l) {
        (void)signal(SIGPIPE, SIG_IGN);
        l = loop_start("mon");
    }
    if (size > SAID_MAX)
        return 0;
    monitor(data, size);
    agent(data, size);
    _cleanup_(freep) char *text = mem_strndup((const char *)data, size);
    record(text);
    return 0;
}
