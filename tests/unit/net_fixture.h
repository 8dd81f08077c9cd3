/*
 * net_fixture.h: a server with a handler of each kind on sockets of its own, and a client that
 * speaks to it in bytes. For the units of src/net.
 */
#pragma once

#include <pthread.h>
#include <stdint.h>

#include "net/net.h"
#include "tls/tls.h"

/* The server; its ports, its folder and the local socket in it. */
extern struct net *net;
extern uint16_t port, tls_port;
extern struct tls_context *client_tls; /* trusts anybody */
extern char dir[], sock_path[64];

/* What the handlers leave behind, under `lock`; `changed` tells. */
extern pthread_mutex_t lock;
extern pthread_cond_t changed;
extern struct net_reply *parked; /* of POST /park: the test answers */
extern unsigned n_gone;          /* parked calls whose client left */
extern unsigned n_console;       /* consoles that echo */

int setup(void **state); /* the folder, with web/index.html and things to be hidden */
int teardown(void **state);
int start(void **state); /* a server with short limits for bodies */
int stop(void **state);
void start_net(struct net_config config); /* with the routes of the fixture */
struct net_reply *wait_parked(void);

int dial(uint16_t to);
void say(int fd, const char *text);
char *hear_all(int fd);                  /* until the server closes; closes too */
void hear(int fd, const char *expected); /* exactly that; the connection stays */
char *ask(const char *text);             /* one connection */
void status_is(const char *request, const char *expected);

#define ANSWER(body_size, connection, type)                                                        \
    "HTTP/1.1 200 OK\r\ncontent-length: " body_size "\r\nconnection: " connection                  \
    "\r\ncache-control: no-cache, no-store\r\ncontent-type: " type "\r\n"
#define CORS "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Headers: X-Requested-With\r\n"
