/*
 * xe.c: the administrator's command line, a thin client. The commands run in cairnd; this program
 * sends its words, prints what it is told, and opens files and connections on request.
 *
 * Exit status: what the server says, 1 if there is no server.
 */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/turn.h"
#include "codec/thin.h"
#include "xe/converse.h"

#define OUTPUT_SIZE 65536 /* of a list, at a time */

static void usage(const char *program)
{
    fprintf(stderr,
            "Usage:\n"
            "  %s <command>\n"
            "    [ -s <server> ]            host name or address, or the path of a local socket\n"
            "    [ -p <port> ]              port number\n"
            "    [ -u <username> -pw <password> | -pwf <password file> ]\n"
            "    [ --nossl ]                no TLS\n"
            "    [ --minimal ]              only values, separated by commas\n"
            "    [ --debug ]                tell what goes on\n"
            "    [ <other arguments> ... ]  of the command: name=value\n"
            "\n"
            "A list of commands: %s help\n",
            program, program);
}

int main(int argc, char **argv)
{
    struct options o;
    turn_shorten();
    signal(SIGPIPE, SIG_IGN);
    int status = options_read(argc, argv, &o) < 0 ? 1 : -1;
    if (status < 0 && o.version) {
        printf("xe " CAIRN_VERSION ", thin command-line protocol %d.%d\n", THIN_MAJOR, THIN_MINOR);
        status = 0;
    } else if (status < 0 && (o.help || !o.words.n)) {
        usage("xe");
        status = 0;
    }
    if (!isatty(STDOUT_FILENO))
        setvbuf(stdout, NULL, _IOFBF, OUTPUT_SIZE);
    if (status < 0)
        status = converse_run(&o, stdout);
    options_done(&o);
    return status;
}
