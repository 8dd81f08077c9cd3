/*
 * cairnd.c: the wiring - creates the layers in order, waits, takes them down in reverse.
 *
 * Starting is recovering: the store is loaded, what runs is asked of the host, the journal of a
 * process that died is undone or rolled forward, and only then a socket is opened. Ending leaves
 * guests and their disks alone. The main thread runs the loop of the control socket and signals.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "api/api.h"
#include "api/auth.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "config.h"
#include "handler/handler.h"
#include "host/host.h"
#include "loop/child.h"
#include "loop/ctl.h"
#include "loop/loop.h"
#include "net/net.h"
#include "op/op_world.h"
#include "password.h"
#include "state/db.h"
#include "state/store.h"
#include "task/claim.h"
#include "task/task.h"
#include "tls/tls.h"

#define HOUSEKEEPING (30 * USEC_PER_SEC)
#define STOP_TIME    (20 * USEC_PER_SEC)

/* Everything that was made, in order; what is NULL was not reached. */
struct daemon {
    struct config config;
    int lock_fd; /* holds the pid file */
    struct loop *loop;
    struct db *db;
    struct host *host;
    struct tasks *tasks;
    struct op_world *world;
    struct auth *auth;
    struct api *api;
    struct tls_context *tls;
    struct net *net;
    struct ctl *ctl;
    struct loop *chores; /* a thread for what must not block the main one */
    struct handlers handlers;
};

/* One daemon per run folder: the pid file is locked for as long as we live. */
static struct err *take_lock(struct daemon *d)
{
    _cleanup_(freep)
    char *path = mem_printf("%s/cairnd.pid", d->config.run_dir);
    d->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (d->lock_fd < 0)
        return err_errno(errno, "cannot open '%s'", path);
    if (flock(d->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return err_internal("another cairnd runs on '%s'; its pid stands in '%s'",
                            d->config.run_dir, path);
    char text[32];
    int n = snprintf(text, sizeof(text), "%d\n", (int)getpid());
    if (ftruncate(d->lock_fd, 0) < 0 || pwrite(d->lock_fd, text, (size_t)n, 0) != n)
        return err_errno(errno, "cannot write '%s'", path);
    return NULL;
}

static struct err *make_folders(const struct config *c)
{
    const char *const folders[] = {c->state_dir, c->run_dir, c->log_dir, c->sr_dir, c->iso_dir};
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        int r = fd_mkdirs(folders[i], 0755);
        if (r < 0)
            return err_errno(-r, "cannot make the folder '%s'", folders[i]);
    }
    return NULL;
}

static struct err *open_state(struct daemon *d)
{
    const char *where = d->config.store;
    struct store *store = NULL;
    if (str_starts(where, "sqlite:"))
        TRY(store_sqlite_open(where + strlen("sqlite:"), STORE_WRITER, &store));
    else
        TRY(store_etcd_open(&(struct store_etcd_config){.url = where + strlen("etcd:")},
                            STORE_WRITER, &store));
    return db_open(&(struct db_config){.store = store}, &d->db);
}

static struct err *open_host(struct daemon *d)
{
    const struct config *c = &d->config;
    struct host_config hc = {
        .run_dir = c->run_dir,
        .state_dir = c->state_dir,
        .simulate = str_eq(c->hypervisor, "sim"),
        .accel = str_eq(c->accel, "auto") ? NULL : c->accel,
        .diskd = *c->diskd ? c->diskd : NULL,
        .privd = *c->privd_socket ? c->privd_socket : NULL,
        .fact = op_world_fact,
        .fact_arg = d->world,
    };
    return host_new(&hc, &d->host);
}

/* What operations need to know of the configuration, and the objects of a first start. */
static struct err *open_operations(struct daemon *d)
{
    TRY(tasks_new(
        &(struct tasks_config){
            .db = d->db, .host = d->host, .world = d->world, .render = op_world_render},
        &d->tasks));
    claim_hook(d->db);
    TRY(op_world_open(d->world, d->db, d->host, d->tasks));
    return host_start(d->host);
}

static struct err *open_api(struct daemon *d)
{
    d->auth = auth_new_file(d->config.users_file);
    struct api_config ac = {.db = d->db, .tasks = d->tasks, .host = d->host, .auth = d->auth};
    return api_new(&ac, &d->api);
}

static struct err *listen_tls(struct daemon *d, const char *address, uint16_t port)
{
    _cleanup_(freep)
    char *cert = mem_printf("%s/cert.pem", d->config.state_dir);
    _cleanup_(freep)
    char *key = mem_printf("%s/key.pem", d->config.state_dir);
    const char *const names[] = {d->config.hostname, "localhost", "127.0.0.1"};
    TRY(tls_make_certificate(cert, key, d->config.hostname, names, ARRAY_LEN(names)));
    TRY(tls_context_server(cert, key, &d->tls));
    return net_listen_tcp(d->net, address, port, d->tls, NULL);
}

static struct err *listen_on(struct daemon *d, const char *where, bool tls)
{
    if (!*where)
        return NULL;
    const char *colon = strrchr(where, ':'); /* config_check has seen it */
    uint64_t port = 0;
    if (str_u64(view_of(colon + 1), 0, 65535, &port) < 0)
        return err_internal("no port in '%s'", where);
    _cleanup_(freep)
    char *address = mem_strndup(where, (size_t)(colon - where));
    uint16_t got = (uint16_t)port;
    TRY(tls ? listen_tls(d, address, (uint16_t)port)
            : net_listen_tcp(d->net, address, (uint16_t)port, NULL, &got));
    log_info("event=listening address=%s port=%u tls=%s", address, got, tls ? "yes" : "no");
    return NULL;
}

/* Sockets handed over by whoever started us replace our own TCP ones. */
static struct err *open_sockets(struct daemon *d)
{
    unsigned inherited = net_inherited();
    for (unsigned i = 0; i < inherited; i++)
        TRY(net_listen_fd(d->net, 3 + (int)i, NULL));
    if (!inherited) {
        TRY(listen_on(d, d->config.listen_http, false));
        TRY(listen_on(d, d->config.listen_https, true));
    }
    return net_listen_unix(d->net, d->config.local_socket, 0666);
}

static struct err *open_net(struct daemon *d)
{
    d->handlers = (struct handlers){.api = d->api,
                                    .db = d->db,
                                    .host = d->host,
                                    .development = d->config.development,
                                    .owner = getuid()};
    struct net_config nc = {.arg = &d->handlers, .web_root = d->config.web_dir};
    nc.routes = handler_routes(&nc.n_routes);
    TRY(net_new(&nc, &d->net));
    return open_sockets(d);
}

static struct err *dump(void *arg, unsigned argc, const char *const *argv, struct buf *out)
{
    struct daemon *d = arg;
    const char *what = argc > 1 ? argv[1] : "";
    if (str_eq(what, "tasks") || str_eq(what, "claims"))
        tasks_dump(d->tasks, out);
    else if (str_eq(what, "sessions"))
        api_dump(d->api, out);
    else if (str_eq(what, "net") || str_eq(what, "threads"))
        net_dump(d->net, out);
    else if (str_eq(what, "loop"))
        loop_dump(out);
    else
        return err_internal("there is no dump '%s'; there are: tasks, claims, sessions, net, loop",
                            what);
    return NULL;
}

static struct err *open_control(struct daemon *d)
{
    ctl_register("dump", "tasks|claims|sessions|net|loop", dump, d);
    return ctl_listen(d->loop, d->config.control_socket, &d->ctl);
}

static struct err *open_all(struct daemon *d)
{
    TRY(make_folders(&d->config));
    TRY(take_lock(d));
    d->world = op_world_new(&(struct op_world_config){
        .hostname = d->config.hostname,
        .sr_dir = d->config.sr_dir,
        .iso_dir = d->config.iso_dir,
        .address = "127.0.0.1",
        .memory_bytes = d->config.memory_mib << 20,
        .agent_timeout = d->config.guest_agent_timeout_s * USEC_PER_SEC,
    });
    TRY(err_wrap(open_state(d), "opening the store"));
    TRY(err_wrap(open_host(d), "finding the host's hands"));
    TRY(err_wrap(open_operations(d), "recovering"));
    TRY(err_wrap(open_api(d), "opening the API"));
    TRY(err_wrap(open_control(d), "opening the control socket"));
    return err_wrap(open_net(d), "opening sockets");
}

static void close_all(struct daemon *d)
{
    net_free(d->net);
    if (d->tasks)
        tasks_stop(d->tasks, clock_now() + STOP_TIME);
    api_free(d->api);
    auth_free(d->auth);
    host_free(d->host);
    op_world_free(d->world);
    ctl_free(d->ctl);
    db_close(d->db);
    tls_context_free(d->tls);
    fd_close(d->lock_fd);
    config_done(&d->config);
}

static void housekeeping(void *arg)
{
    struct daemon *d = arg;
    struct err *e = tasks_gc(d->tasks);
    if (e) {
        _cleanup_(freep)
        char *text = err_text(e);
        log_warn("event=task-gc-failed error='%s'", text);
        err_free(e);
    }
    api_expire(d->api);
}

struct chores {
    struct daemon *daemon;
    struct loop_timer *timer;
};

static void every_30_s(void *arg)
{
    struct chores *c = arg;
    loop_post(c->daemon->chores, housekeeping, c->daemon);
    loop_timer_set(c->timer, clock_now() + HOUSEKEEPING);
}

static void on_signal(void *arg, int fd, unsigned events)
{
    (void)events;
    struct daemon *d = arg;
    struct signalfd_siginfo si;
    if (read(fd, &si, sizeof(si)) != sizeof(si))
        return;
    log_info("event=stopping signal=%u", si.ssi_signo);
    loop_stop(d->loop);
}

static void serve(struct daemon *d, int signals)
{
    struct chores chores = {.daemon = d};
    d->chores = loop_start("chores");
    chores.timer = loop_timer_new(d->loop, every_30_s, &chores);
    loop_timer_set(chores.timer, clock_now() + HOUSEKEEPING);
    struct loop_fd *watch = loop_fd_add(d->loop, signals, LOOP_READ, on_signal, d);
    log_info("event=ready socket=%s", d->config.local_socket);
    loop_run(d->loop);
    loop_fd_del(watch);
    loop_timer_free(chores.timer);
    loop_stop_join(d->chores);
}

static int fail(struct err *e)
{
    _cleanup_(freep)
    char *text = err_text(e);
    log_err("event=cannot-start error='%s'", text);
    fprintf(stderr, "cairnd: %s\n", err_param(e, 0));
    err_free(e);
    return 1;
}

/* Signals come through a descriptor on the main loop; threads made later inherit the mask. */
static int block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int run(struct daemon *d)
{
    enum log_level level;
    if (log_parse_level(d->config.log_level, &level) == 0)
        log_set_level(NULL, level);
    _cleanup_(fd_closep)
    int signals = block_signals();
    d->loop = loop_new("main");
    struct err *e = open_all(d);
    if (!e)
        serve(d, signals);
    close_all(d);
    loop_free(d->loop);
    return e ? fail(e) : 0;
}

static const char usage[] =
    "usage: cairnd [--config FILE] [--development FOLDER] [-o KEY=VALUE]… [--check]\n"
    "       cairnd --hash-password < PASSWORD\n"
    "\n"
    "  -c, --config FILE         settings; default /etc/cairn/cairn.conf if it is there\n"
    "  -d, --development FOLDER  keep everything under FOLDER; no root needed\n"
    "  -o, --option KEY=VALUE    one setting, wins over the file\n"
    "      --check               print the settings in force, check them, start nothing\n"
    "      --hash-password       print the hash of a password for a users file\n"
    "      --version, --help\n"
    "\n"
    "Runs in the foreground, logs on stderr. See cairnd(8) and cairn.conf(5).\n";

enum { OPT_CHECK = 256, OPT_HASH, OPT_VERSION, OPT_HELP };

/* What the command line asks for besides settings. */
enum mode { MODE_RUN, MODE_CHECK, MODE_DONE };

static struct err *settings(struct config *c, int argc, char **argv, enum mode *mode)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"development", required_argument, NULL, 'd'},
        {"option", required_argument, NULL, 'o'},
        {"check", no_argument, NULL, OPT_CHECK},
        {"hash-password", no_argument, NULL, OPT_HASH},
        {"version", no_argument, NULL, OPT_VERSION},
        {"help", no_argument, NULL, OPT_HELP},
        {0},
    };
    bool file_given = false;
    *mode = MODE_RUN;
    /* The folder and the file first: single settings win wherever they stand. */
    for (int pass = 0; pass < 2; pass++) {
        optind = 1;
        for (int o; (o = getopt_long(argc, argv, "c:d:o:", options, NULL)) != -1;) {
            if (o == '?')
                exit(2);
            if (o == 'd' && pass == 0)
                TRY(config_development(c, optarg));
            else if (o == 'c' && pass == 0)
                TRY(config_read(c, optarg, false));
            else if (o == 'o' && pass == 1)
                TRY(config_set(c, optarg));
            else if (o == OPT_CHECK)
                *mode = MODE_CHECK;
            else if (o == OPT_HASH)
                exit(password_hash_main());
            else if (o == OPT_VERSION || o == OPT_HELP)
                exit(fputs(o == OPT_HELP ? usage : "cairnd " CAIRN_VERSION "\n", stdout) < 0);
            file_given = file_given || o == 'c' || o == 'd';
        }
        if (pass == 0 && !file_given)
            TRY(config_read(c, "/etc/cairn/cairn.conf", true));
    }
    if (optind < argc) {
        fprintf(stderr, "cairnd: what is '%s'?\n%s", argv[optind], usage);
        exit(2);
    }
    return config_check(c);
}

int main(int argc, char **argv)
{
    struct daemon d = {.lock_fd = -1};
    enum mode mode;
    config_init(&d.config);
    struct err *e = settings(&d.config, argc, argv, &mode);
    if (!e && mode == MODE_RUN)
        return run(&d);
    if (!e)
        config_print(&d.config);
    config_done(&d.config);
    return e ? fail(e) : 0;
}
