/*
 * diskd.c: the program cairn-diskd: its command line, the one-shot commands `create` and `info`,
 * and the wiring of the daemon. The main thread runs the loop; the job threads start before the
 * sandbox is closed around all of them.
 */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define LOG_MODULE "diskd"

#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "disk/at.h"
#include "disk/backend/lv.h"
#include "disk/backend/remote.h"
#include "disk/backend/uring.h"
#include "disk/control.h"
#include "disk/profile.h"
#include "disk/create.h"
#include "disk/keeper.h"
#include "disk/report.h"
#include "disk/sandbox.h"

enum { EXIT_USAGE = 2 };

static const char usage_text[] =
    "usage: cairn-diskd --control=PATH [--log=LEVEL] [--sandbox=on|off] [--with=SCHEME] "
    "[--locks=DIR]\n"
    "       cairn-diskd create PATH --format=vhd|vhd-fixed|qcow2|raw --size=BYTES\n"
    "       cairn-diskd info PATH [--format=vhd|vhd-fixed|qcow2|raw]\n"
    "       cairn-diskd at VERB PATH [MORE]\n"
    "       cairn-diskd profile PATH [--seconds=N] [--json]\n"
    "       cairn-diskd --help | --version\n";

struct args {
    const char *command, *path, *control;
    const char *verb, *more; /* of `at` */
    bool no_sandbox, has_network;
    bool has_format;
    enum image_format format;
    uint64_t size, seconds;
    bool json;
    char **argv;
};

static int usage(const char *complaint)
{
    if (complaint)
        (void)fprintf(stderr, "cairn-diskd: %s\n", complaint);
    (void)fputs(usage_text, stderr);
    return EXIT_USAGE;
}

static int run_create(const struct args *a)
{
    struct image_made made;
    struct image_why why = {""};
    if (!a->path || !a->has_format || a->size == 0)
        return usage("create needs a path, a format and a size");
    (void)remote_load_for(a->path); /* one that is missing is told by opening */
    if (image_create(a->path, a->format, a->size, NULL, &made, &why) < 0) {
        (void)fprintf(stderr, "cairn-diskd: %s\n", why.text);
        return EXIT_FAILURE;
    }
    return report_print(report_made(&made, a->format));
}

static int run_info(const struct args *a)
{
    struct image_info info;
    struct image_why why = {""};
    if (!a->path)
        return usage("info needs a path");
    (void)remote_load_for(a->path);
    if (image_info(a->path, a->has_format ? &a->format : NULL, &info, &why) < 0) {
        (void)fprintf(stderr, "cairn-diskd: %s\n", why.text);
        return EXIT_FAILURE;
    }
    return report_print(report_info(&info));
}

static int run_profile(const struct args *a)
{
    struct profile p;
    const char *what;
    if (!a->path)
        return usage("profile needs a file, a device or a folder");
    double seconds =
        a->seconds ? (double)a->seconds / (PROFILE_POINTS + PROFILE_DEPTHS) : PROFILE_POINT_SECONDS;
    int r = profile_run(a->path, seconds, &p, &what);
    if (r == 0)
        return profile_print(&p, a->path, a->json);
    (void)fprintf(stderr, "cairn-diskd: cannot %s: '%s': %s\n", what, a->path, strerror(-r));
    return EXIT_FAILURE;
}

struct daemon {
    struct ring *ring;
    struct jobs *jobs;
    struct backend *backend;
    struct control *control;
    int signals;
    struct ring_op on_signal;
};

static void on_signal(struct ring_op *op, int res)
{
    struct daemon *d = (struct daemon *)((char *)op - offsetof(struct daemon, on_signal));
    struct signalfd_siginfo si;
    if (fd_read_all(d->signals, &si, sizeof(si)) == 0)
        log_info("event=ending signal=%u", si.ssi_signo);
    control_end(d->control);
    ring_poll(d->ring, &d->on_signal, d->signals);
}

static int block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

static int complain(const char *what, int err)
{
    log_err("event=cannot-start what=\"%s\" why=\"%s\"", what, strerror(-err));
    return EXIT_FAILURE;
}

static int run_daemon(const struct args *a)
{
    struct daemon d = {.on_signal.done = on_signal};
    if (a->command)
        return usage("a command and --control exclude each other");
    d.signals = block_signals();
    int kept = keeper_start(!a->no_sandbox, a->argv);
    if (kept < 0)
        return complain("keeper", kept);
    int listen_fd = fd_listen_unix(a->control, 0660);
    if (listen_fd < 0)
        return complain(a->control, listen_fd);
    (void)fd_set_nonblocking(listen_fd);
    int r = ring_new(&d.ring);
    if (r < 0)
        return complain("io_uring", r);
    remote_start(d.ring);
    r = jobs_new(d.ring, &d.jobs);
    if (r == 0 && !a->no_sandbox)
        r = sandbox_enter(!a->has_network        ? SANDBOX_LOCAL
                          : remote_has_threads() ? SANDBOX_THREADS
                                                 : SANDBOX_NETWORK);
    if (r < 0)
        return complain("sandbox", r);
    d.backend = uring_backend_new(d.ring);
    lv_start(d.backend);
    d.control = control_new(d.ring, d.jobs, d.backend, listen_fd);
    ring_poll(d.ring, &d.on_signal, d.signals);
    log_info("event=ready control=%s", a->control);
    r = ring_run(d.ring);
    (void)unlink(a->control);
    jobs_stop(d.jobs);
    control_hang_up(d.control);
    (void)ring_settle(d.ring);
    control_free(d.control);
    ring_free(d.ring);
    jobs_free(d.jobs);
    uring_backend_free(d.backend);
    keeper_stop();
    fd_close(d.signals);
    return r < 0 ? complain("loop", r) : EXIT_SUCCESS;
}

static int run_command(const struct args *a)
{
    if (a->control)
        return run_daemon(a);
    if (a->command && strcmp(a->command, "create") == 0)
        return run_create(a);
    if (a->command && strcmp(a->command, "info") == 0)
        return run_info(a);
    if (a->command && strcmp(a->command, "at") == 0)
        return a->path ? at_run(a->verb, a->path, a->more) : usage("at needs a verb and a path");
    if (a->command && strcmp(a->command, "profile") == 0)
        return run_profile(a);
    return usage(a->command ? "there is no such command" : NULL);
}

static int set_log(const char *level)
{
    enum log_level l;
    if (log_parse_level(level, &l) < 0)
        return -EINVAL;
    log_set_level(NULL, l);
    return 0;
}

/* One option; a complaint, or NULL when it is fine. */
static const char *take_option(struct args *a, int c)
{
    if (c == 'f') {
        a->has_format = true;
        return image_parse_format(optarg, &a->format) < 0
                   ? "the format is vhd, vhd-fixed, qcow2 or raw"
                   : NULL;
    }
    if (c == 's')
        return str_size(view_of(optarg), &a->size) < 0 ? "the size is not a number of bytes" : NULL;
    if (c == 't')
        return str_u64(view_of(optarg), 1, 3600, &a->seconds) < 0
                   ? "the seconds are a number from 1 to 3600"
                   : NULL;
    if (c == 'j') {
        a->json = true;
        return NULL;
    }
    if (c == 'l')
        return set_log(optarg) < 0 ? "the level is err, warn, info or debug" : NULL;
    if (c == 'S') {
        a->no_sandbox = strcmp(optarg, "off") == 0;
        return a->no_sandbox || strcmp(optarg, "on") == 0 ? NULL : "the sandbox is on or off";
    }
    if (c == 'w') {
        a->has_network = true;
        return remote_load(optarg) < 0 ? "there is no module for that scheme" : NULL;
    }
    if (c == 'L') {
        remote_set_lock_dir(optarg);
        return NULL;
    }
    if (c == 'c') {
        a->control = optarg;
        return NULL;
    }
    return "";
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"control", required_argument, NULL, 'c'}, {"log", required_argument, NULL, 'l'},
        {"sandbox", required_argument, NULL, 'S'}, {"format", required_argument, NULL, 'f'},
        {"seconds", required_argument, NULL, 't'}, {"json", no_argument, NULL, 'j'},
        {"size", required_argument, NULL, 's'},    {"with", required_argument, NULL, 'w'},
        {"locks", required_argument, NULL, 'L'},   {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},       {NULL, 0, NULL, 0},
    };
    struct args a = {.argv = argv};
    file_kind_add(&lv_kind);
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (c == 'h' || c == 'V') {
            (void)fputs(c == 'h' ? usage_text : "cairn-diskd " CAIRN_VERSION "\n", stdout);
            return EXIT_SUCCESS;
        }
        const char *complaint = take_option(&a, c);
        if (complaint)
            return usage(*complaint ? complaint : NULL);
    }
    if (optind < argc)
        a.command = argv[optind++];
    if (optind < argc && strcmp(a.command, "at") == 0)
        a.verb = argv[optind++];
    if (optind < argc)
        a.path = argv[optind++];
    if (optind < argc && a.verb)
        a.more = argv[optind++];
    return optind < argc ? usage(NULL) : run_command(&a);
}
