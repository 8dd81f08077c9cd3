/*
 * cairnctl.c: asks and steers a running cairnd over its control socket.
 *
 *     cairnctl dump tasks          what runs, step by step
 *     cairnctl log qmp debug       more lines from one module
 *     cairnctl doctor              is everything there that a host needs?
 *
 * A command is sent as one line; the answer's first line says ok or error. Exit status: 0 fine,
 * 1 failed, 2 usage.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "xe/control.h"
#include "xe/doctor.h"
#include "xe/profile.h"

static int usage(FILE *to, int status)
{
    fputs(
        "Usage: cairnctl [-s SOCKET] COMMAND [WORD …]\n"
        "\n"
        "  help                       commands of the running daemon\n"
        "  log MODULE|* LEVEL         err, warn, info or debug\n"
        "  dump [WHAT]                claims, tasks, sessions, net, threads, loop, state, watch, "
        "metrics; or all\n"
        "  sr tree UUID               the disks of an SR: who is built on what, what is tidied "
        "next\n"
        "  sr profile UUID            measures the SR's device for some ten seconds and keeps how "
        "to drive it\n"
        "  loops                      what each loop ran, and its slowest callback\n"
        "  fault …                    fault points, in a development run\n"
        "  doctor                     checks of this machine; needs no daemon\n"
        "\n"
        "SOCKET: /run/cairn/cairnd.ctl, or the one that CAIRN_CONTROL names.\n",
        to);
    return status;
}

/* Quotes a word that holds blanks, as the daemon reads it. */
static void put_word(struct buf *b, const char *word)
{
    bool plain = *word && !strpbrk(word, " \t\"\\");
    if (b->size)
        buf_putc(b, ' ');
    if (plain) {
        buf_puts(b, word);
        return;
    }
    buf_putc(b, '"');
    for (; *word; word++) {
        if (*word == '"' || *word == '\\')
            buf_putc(b, '\\');
        buf_putc(b, *word);
    }
    buf_putc(b, '"');
}

int main(int argc, char **argv)
{
    _cleanup_(freep) char *socket = control_socket();
    int at = 1;
    if (argc > 2 && strcmp(argv[1], "-s") == 0) {
        free(socket);
        socket = mem_strdup(argv[2]);
        at = 3;
    }
    if (at < argc && (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0))
        return usage(stdout, 0);
    if (at >= argc || argv[at][0] == '-')
        return usage(stderr, 2);
    if (strcmp(argv[at], "doctor") == 0)
        return doctor_run(socket);
    int words = argc - at;
    if (words >= 3 && words <= 4 && str_eq(argv[at], "sr") && str_eq(argv[at + 1], "profile"))
        return profile_run(socket, argv[at + 2], words == 4 ? argv[at + 3] : "10");
    _cleanup_(buf_done) struct buf line;
    buf_init(&line, 1 << 16);
    for (; at < argc; at++)
        put_word(&line, argv[at]);
    return control_ask(socket, buf_str(&line));
}
