/*
 * privd.c: the program cairn-privd: the few verbs that need root, for a cairnd that is not root.
 *
 * A fixed list of verbs (verbs.c) on a unix socket (docs/privd.md), for one uid. Everything that is
 * asked is checked again here; what cannot be told apart is refused, never guessed. How power is
 * given away stands in confine.h; how a request that hangs or crashes is kept from the others, in
 * server.h. No state: it can be killed and restarted at any time.
 *
 * This file reads the command line and wires the rest. One thread.
 */
#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_MODULE "privd"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "privd/server.h"

enum { EXIT_USAGE = 2 };

static const char usage_text[] =
    "usage: cairn-privd [--socket PATH] --peer-uid UID [--mount-dir DIR] [--plugins-dir DIR]\n"
    "                   [--extensions-dir DIR]\n"
    "                   [--pam-service NAME [--pam-confdir DIR]] [--port PORT]…\n"
    "                   [--etc-dir DIR [--tools-dir DIR]] [--deadline SECONDS] [--log LEVEL]\n"
    "                   [--check]\n"
    "\n"
    "  --socket PATH       listen there; without it the service manager hands the socket over\n"
    "  --peer-uid UID      the only one that is answered: a number or the name of an account\n"
    "  --mount-dir DIR     file systems are mounted on folders in it\n"
    "  --plugins-dir DIR   plugins are run from it\n"
    "  --extensions-dir DIR  extensions are run from it\n"
    "  --pam-service NAME  passwords are checked with it\n"
    "  --pam-confdir DIR   its file is in DIR, not in /etc/pam.d\n"
    "  --etc-dir DIR       settings of the machine may be made; their files are below DIR (/etc)\n"
    "  --tools-dir DIR     where systemctl, timedatectl, hostnamectl are, not in /usr/bin\n"
    "  --port PORT         may be listened on (several times); 80 and 443 if none is given\n"
    "  --deadline SECONDS  no request takes longer (each verb has a deadline of its own, too)\n"
    "  --log LEVEL         err, warn, info or debug\n"
    "  --check             check the options and folders, start nothing\n"
    "  --help, --version\n"
    "\n"
    "Runs as root, in the foreground; logs on stderr. See cairn-privd(8).\n";

static const uint16_t usual_ports[] = {80, 443};

struct args {
    struct place place;
    bool has_peer, check;
};

static int usage(const char *complaint)
{
    if (complaint)
        (void)fprintf(stderr, "cairn-privd: %s\n", complaint);
    (void)fputs(usage_text, stderr);
    return EXIT_USAGE;
}

static bool set_peer(struct args *a, const char *text)
{
    uint64_t uid;
    const struct passwd *account = NULL;
    if (str_u64(view_of(text), 0, UINT32_MAX - 1, &uid) < 0) {
        account = getpwnam(text);
        if (!account)
            return false;
        uid = account->pw_uid;
    }
    a->place.peer_uid = (uid_t)uid;
    a->has_peer = true;
    return true;
}

static bool add_port(struct args *a, const char *text)
{
    uint64_t port;
    if (a->place.n_ports == PLACE_PORTS_MAX || str_u64(view_of(text), 1, 1023, &port) < 0)
        return false;
    a->place.ports[a->place.n_ports++] = (uint16_t)port;
    return true;
}

static bool set_deadline(struct args *a, const char *text)
{
    uint64_t seconds;
    if (str_u64(view_of(text), 1, 3600, &seconds) < 0)
        return false;
    a->place.seconds = (unsigned)seconds;
    return true;
}

static bool set_level(const char *text)
{
    enum log_level level;
    if (log_parse_level(text, &level) < 0)
        return false;
    log_set_level(NULL, level);
    return true;
}

enum {
    SOCKET = 1,
    PEER,
    MOUNTS,
    PLUGINS,
    EXTENSIONS,
    SERVICE,
    CONFDIR,
    ETC,
    TOOLS,
    PORT,
    DEADLINE,
    LEVEL,
    CHECK,
    HELP,
    VERSION
};

static const struct option options[] = {{"socket", required_argument, NULL, SOCKET},
                                        {"peer-uid", required_argument, NULL, PEER},
                                        {"mount-dir", required_argument, NULL, MOUNTS},
                                        {"plugins-dir", required_argument, NULL, PLUGINS},
                                        {"extensions-dir", required_argument, NULL, EXTENSIONS},
                                        {"pam-service", required_argument, NULL, SERVICE},
                                        {"pam-confdir", required_argument, NULL, CONFDIR},
                                        {"etc-dir", required_argument, NULL, ETC},
                                        {"tools-dir", required_argument, NULL, TOOLS},
                                        {"port", required_argument, NULL, PORT},
                                        {"deadline", required_argument, NULL, DEADLINE},
                                        {"log", required_argument, NULL, LEVEL},
                                        {"check", no_argument, NULL, CHECK},
                                        {"help", no_argument, NULL, HELP},
                                        {"version", no_argument, NULL, VERSION},
                                        {0}};

/* False: the value is no good. */
static bool set_option(struct args *a, int option)
{
    const char **const texts[] = {[SOCKET] = (const char **)&a->place.socket,
                                  [MOUNTS] = &a->place.mount_dir,
                                  [PLUGINS] = &a->place.plugins_dir,
                                  [EXTENSIONS] = &a->place.extensions_dir,
                                  [SERVICE] = &a->place.pam_service,
                                  [CONFDIR] = &a->place.pam_confdir,
                                  [ETC] = &a->place.etc_dir,
                                  [TOOLS] = &a->place.tools_dir};
    if (option == PEER)
        return set_peer(a, optarg);
    if (option == LEVEL)
        return set_level(optarg);
    if (option == PORT)
        return add_port(a, optarg);
    if (option == DEADLINE)
        return set_deadline(a, optarg);
    if (option == CHECK)
        return a->check = true;
    *texts[option] = optarg;
    return *optarg != '\0';
}

/* -1: go on; else the exit status. */
static int read_options(struct args *a, int argc, char **argv)
{
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (o == '?')
            return usage(NULL);
        if (o == HELP || o == VERSION)
            return fputs(o == HELP ? usage_text : "cairn-privd " CAIRN_VERSION "\n", stdout) < 0;
        if (!set_option(a, o))
            return usage("an option has a value that cannot be");
    }
    if (!a->place.n_ports)
        for (unsigned i = 0; i < ARRAY_LEN(usual_ports); i++)
            a->place.ports[a->place.n_ports++] = usual_ports[i];
    if (optind < argc)
        return usage("there are no arguments besides options");
    if (!a->has_peer)
        return usage("--peer-uid is missing");
    if (a->place.pam_service && strchr(a->place.pam_service, '/'))
        return usage("--pam-service is the name of a file, not a path");
    return -1;
}

static struct err *get_socket(const struct args *a, int *ret)
{
    TRY(server_inherited(ret));
    if (*ret >= 0)
        return NULL;
    if (!a->place.socket)
        return err_internal("no socket: there is no --socket, and none was handed over");
    return server_bind(a->place.socket, ret);
}

static struct err *run(struct args *a)
{
    if (geteuid() != 0)
        return err_internal("only root can do what cairn-privd is for");
    TRY(place_open(&a->place));
    _cleanup_(fd_closep) int fd = -1;
    if (a->check)
        return a->place.plugins_dir ? place_open_plugins(&a->place, &fd) : NULL;
    TRY(get_socket(a, &fd));
    return server_run(fd, &a->place);
}

int main(int argc, char **argv)
{
    struct args a = {.place = {.mount_fd = -1}};
    int status = read_options(&a, argc, argv);
    if (status >= 0)
        return status;
    (void)umask(022);
    struct err *e = run(&a);
    place_close(&a.place);
    if (!e)
        return EXIT_SUCCESS;
    (void)fprintf(stderr, "cairn-privd: %s\n", err_param(e, 0));
    err_free(e);
    return EXIT_FAILURE;
}
