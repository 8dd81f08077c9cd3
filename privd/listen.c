/* listen.c: a TCP socket on one of the ports that the command line allows. Called in a worker. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "privd/verbs.h"

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* The size of the address; rule_address() has seen that it is one. */
static socklen_t make_address(const char *text, uint16_t port, union address *ret)
{
    *ret = (union address){.v4 = {.sin_family = AF_INET, .sin_port = htons(port)}};
    if (inet_pton(AF_INET, text, &ret->v4.sin_addr) == 1)
        return sizeof(ret->v4);
    *ret = (union address){.v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)}};
    return inet_pton(AF_INET6, text, &ret->v6.sin6_addr) == 1 ? sizeof(ret->v6) : 0;
}

static bool may_listen(const struct place *p, uint16_t port)
{
    for (unsigned i = 0; i < p->n_ports; i++)
        if (p->ports[i] == port)
            return true;
    return false;
}

struct err *verb_listen(const struct place *p, const struct request *r, struct val *answer,
                        int *ret_fd)
{
    (void)answer;
    union address a;
    int on = 1;
    const char *text = request_str(r, "address");
    uint16_t port = (uint16_t)request_int(r, "port");
    if (!may_listen(p, port))
        return err_internal("port %u is none of those that may be asked for", port);
    socklen_t size = make_address(text, port, &a);
    _cleanup_(fd_closep) int fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
        return err_errno(errno, "cannot make a socket");
    if (bind(fd, &a.any, size) < 0 || listen(fd, SOMAXCONN) < 0)
        return err_errno(errno, "cannot listen on '%s', port %u", text, port);
    *ret_fd = fd_take(&fd);
    return NULL;
}
