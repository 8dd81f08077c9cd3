/*
 * sandbox.h: giving power away. After sandbox_enter() the process and all its threads can
 *
 *     open, create, lock, grow and remove files it has rights to; bind and accept unix sockets;
 *     map memory; use the io_uring it has, for the operations ring.c named when it was made;
 *
 * and can not: run a program, make a socket that is not a unix socket, connect to anything, trace
 * or signal another process, change its identity, mount, load, or make another io_uring. What is
 * not allowed fails with EPERM, a program start ends the process.
 *
 * SANDBOX_NETWORK: it can connect over IPv4 and IPv6 as well, and do what the libraries for network
 * storage do on their way. SANDBOX_THREADS: it can make threads, too, for a library that cannot do
 * without. Only a process that serves such storage is given that.
 */
#pragma once

enum sandbox_kind { SANDBOX_LOCAL, SANDBOX_NETWORK, SANDBOX_THREADS };

/* Once, after the ring and the threads were made; 0 or -errno. */
int sandbox_enter(enum sandbox_kind kind);
