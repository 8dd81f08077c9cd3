/*
 * cairnd.c: the wiring - creates the layers in order, waits, takes them down in reverse.
 *
 * Starting is recovering: the store is loaded, what runs is asked of the host, the journal of a
 * process that died is undone or rolled forward, and only then a socket is opened. Ending leaves
 * guests and their disks alone. The main thread runs the loop of the control socket and signals.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "api/api.h"
#include "api/audit.h"
#include "api/auth.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/resident.h"
#include "base/str.h"
#include "chores.h"
#include "config.h"
#include "gen/error.h"
#include "handler/handler.h"
#include "handler/nbd_gate.h"
#include "host/host.h"
#include "host/priv.h"
#include "loop/child.h"
#include "loop/ctl.h"
#include "loop/loop.h"
#include "metrics/metrics.h"
#include "net/net.h"
#include "op/ops.h"
#include "options.h"
#include "state/db.h"
#include "state/restore.h"
#include "state/store.h"
#include "state/watch.h"
#include "task/fault.h"
#include "task/task.h"
#include "tls/tls.h"

#define DESCRIPTORS 65536
#define KEPT_MEMORY (4u << 20) /* bytes of growth that are left alone */

/* Everything that was made, in order; what is NULL was not reached. */
struct daemon {
    struct config config;
    int lock_fd; /* holds the pid file */
    struct loop *loop;
    struct db *db;
    struct host *host;
    struct tasks *tasks;
    struct ops *ops;
    struct auth *auth;
    struct audit *audit;
    struct api *api;
    struct tls_context *tls;
    struct net *net;
    struct ctl *ctl;
    struct chores *chores, *slow;
    struct resident resident;   /* of its thread */
    struct chore chore_list[8]; /* of which there are fewer */
    struct handlers handlers;
    struct nbd_gate *gate;
    bool lost;                        /* the store has another writer */
    bool again;                       /* start anew when everything is closed */
    struct loop_timer *again_timer;   /* NULL: nobody has asked for it */
    int inherited[NET_INHERITED_MAX]; /* copies of sockets that were handed over, for then */
    bool inherited_tls[NET_INHERITED_MAX];
    unsigned n_inherited;
    uint16_t
        clients_port; /* where clients are told to go: the TLS one if there is one; 0: unknown */
    bool clients_tls;
};

/* One daemon per run folder: the pid file is locked for as long as we live. A record lock, because
 * no child has a share in it: one that is just being spawned would keep an open file's lock beyond
 * the end of a daemon that was killed. */
static struct err *take_lock(struct daemon *d)
{
    _cleanup_(freep) char *path = mem_printf("%s/cairnd.pid", d->config.run_dir);
    d->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (d->lock_fd < 0)
        return err_errno(errno, "cannot open '%s'", path);
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET}, holder = whole;
    if (fcntl(d->lock_fd, F_SETLK, &whole) < 0) {
        (void)fcntl(d->lock_fd, F_GETLK, &holder);
        return err_internal("another cairnd, process %d, runs on '%s'", (int)holder.l_pid,
                            d->config.run_dir);
    }
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

/* The file of a SQLite store; NULL if the state lives elsewhere. */
static const char *store_path(const struct daemon *d)
{
    const char *store = d->config.store;
    return str_starts(store, "sqlite:") ? strchr(store, ':') + 1 : NULL;
}

/* If a restore has taken its place, the next process finds the new one. */
static void stop_lost(void *arg)
{
    struct daemon *d = arg;
    d->lost = true;
    d->again = d->again || (store_path(d) && restore_is_pending(store_path(d)));
    loop_stop(d->loop);
}

/* Another writer has our store: what we believe may be wrong from now on. On the store thread. */
static void on_lost(void *arg)
{
    struct daemon *d = arg;
    log_err("event=store-lost it has gone on without us, stopping");
    loop_post(d->loop, stop_lost, d);
}

static void stop_again(void *arg)
{
    struct daemon *d = arg;
    d->again = true;
    loop_stop(d->loop);
}

/* Whoever asked for it gets his answer first. */
static void stop_again_soon(void *arg)
{
    struct daemon *d = arg;
    if (!d->again_timer)
        d->again_timer = loop_timer_new(d->loop, stop_again, d);
    loop_timer_set(d->again_timer, clock_now() + USEC_PER_SEC);
}

static struct err *reload_tls(void *arg);
static struct err *https_only(void *arg, bool on);
static void network_stats(void *arg, const char *method, const char *path, struct val *rows);

static void stop_for_good(void *arg)
{
    loop_stop(((struct daemon *)arg)->loop);
}

/* For ops_config: any thread. */
static void stop(void *arg)
{
    struct daemon *d = arg;
    log_info("event=stopping");
    loop_post(d->loop, stop_for_good, d);
}

static void restart(void *arg)
{
    struct daemon *d = arg;
    log_info("event=restarting");
    loop_post(d->loop, stop_again_soon, d);
}

static void audit_line(void *arg, const char *line)
{
    audit_append(((struct daemon *)arg)->audit, line);
}

static struct err *open_state(struct daemon *d)
{
    struct store *store = NULL;
    const char *file = store_path(d);
    const char *where = strchr(d->config.store, ':') + 1; /* config_check has seen it */
    bool restored;
    if (file)
        TRY(restore_switch(file, &restored));
    if (file)
        TRY(store_sqlite_open(file, STORE_WRITE, &store));
    else
        TRY(store_etcd_open(&(struct store_etcd_config){.endpoint = where, .prefix = "/cairn/"},
                            STORE_WRITE, &store));
    return db_open(&(struct db_config){.store = store, .lost = on_lost, .lost_arg = d}, &d->db);
}

static struct err *open_host(struct daemon *d)
{
    const struct config *c = &d->config;
    _cleanup_(freep) char *machine = mem_printf("%s/machine", c->run_dir);
    struct host_config hc = {
        .run_dir = c->run_dir,
        .state_dir = c->state_dir,
        .log_dir = c->log_dir,
        .simulate = str_eq(c->hypervisor, "sim"),
        .sim_speed = (unsigned)c->sim_speed,
        .accel = str_eq(c->accel, "auto") ? NULL : c->accel,
        .qemu = *c->qemu ? c->qemu : NULL,
        .memory_bytes = c->memory_mib << 20,
        .diskd = *c->diskd ? c->diskd : NULL,
        .privd = *c->privd_socket ? c->privd_socket : NULL,
        .plugins = c->plugins_dir,
        .extensions = c->extensions_dir,
        .machine_dir = c->development ? machine : NULL,
        .fact = ops_fact,
        .fact_arg = &d->ops,
    };
    return host_new(&hc, &d->host);
}

static void tell_all(void *arg, struct buf *out);

static struct err *open_operations(struct daemon *d)
{
    const struct config *c = &d->config;
    ops_register();
    ops_rules(d->db);
    TRY(tasks_new(&(struct tasks_config){.db = d->db, .host = d->host, .render = api_render},
                  &d->tasks));
    _cleanup_(freep) char *crash_dir =
        c->development ? mem_printf("%s/crash", c->state_dir) : mem_strdup("/var/crash");
    struct ops_config oc = {
        .db = d->db,
        .tasks = d->tasks,
        .host = d->host,
        .hostname = c->hostname,
        .address = "127.0.0.1",
        .sr_dir = c->sr_dir,
        .iso_dir = c->iso_dir,
        .templates_dir = c->templates_dir,
        .version = CAIRN_VERSION,
        .product_brand = c->product_brand,
        .product_version = c->product_version,
        .shutdown_wait_s = c->shutdown_wait_s,
        .state_dir = c->state_dir,
        .log_dir = c->log_dir,
        .crash_dir = crash_dir,
        .store_path = store_path(d),
        .dump = tell_all,
        .dump_arg = d,
        .restart = restart,
        .stop = stop,
        .reload_tls = reload_tls,
        .https_only = https_only,
        .network_stats = network_stats,
        .audit_line = audit_line,
        .restart_arg = d,
    };
    TRY(ops_new(&oc, &d->ops));
    tasks_set_world(d->tasks, d->ops);
    TRY(first_start(d->ops));
    TRY(host_start(d->host)); /* finds the guests that recovery asks for */
    TRY(ops_recover(d->ops));
    host_settings_begin(d->ops);
    return certificates_begin(d->ops);
}

static struct err *open_api(struct daemon *d)
{
    const struct config *c = &d->config;
    d->auth = c->development ? auth_new_file(c->users_file) : auth_new_priv(c->privd_socket);
    _cleanup_(freep) char *log = mem_printf("%s/audit.log", c->log_dir);
    d->audit = audit_new(&(struct audit_config){.path = log, .hostname = c->hostname});
    struct api_config ac = {.db = d->db,
                            .tasks = d->tasks,
                            .host = d->host,
                            .auth = d->auth,
                            .audit = d->audit,
                            .encodings_bytes =
                                c->encoding_cache_mib ? c->encoding_cache_mib << 20 : 1};
    TRY(api_new(&ac, &d->api));
    api_set_world(d->api, d->ops);
    return NULL;
}

/* A port that only root may take is asked of cairn-privd. */
static struct err *listen_tcp(struct daemon *d, const char *address, uint16_t port,
                              struct tls_context *tls, uint16_t *got)
{
    struct err *e = net_listen_tcp(d->net, address, port, tls, got);
    if (!e || err_get_errno(e) != EACCES || !*d->config.privd_socket)
        return e;
    err_free(e);
    int fd = -1;
    TRY(priv_listen(d->config.privd_socket, address, port, &fd));
    return net_listen_fd(d->net, fd, tls);
}

/* Clients see the host's certificate; who asks for "pool" sees the one between members. */
static struct err *load_tls(struct daemon *d, bool fresh)
{
    const char *dir = d->config.state_dir;
    _cleanup_(freep) char *cert = mem_printf("%s/cert.pem", dir);
    _cleanup_(freep) char *key = mem_printf("%s/key.pem", dir);
    _cleanup_(freep) char *pool_cert = mem_printf("%s/pool-cert.pem", dir);
    _cleanup_(freep) char *pool_key = mem_printf("%s/pool-key.pem", dir);
    TRY(fresh ? tls_context_server(cert, key, &d->tls) : tls_context_reload(d->tls, cert, key));
    return tls_context_named(d->tls, "pool", pool_cert, pool_key);
}

static struct err *open_tls(struct daemon *d)
{
    return load_tls(d, true);
}

/* For ops_config: on operation threads. */
static struct err *reload_tls(void *arg)
{
    struct daemon *d = arg;
    return d->tls ? load_tls(d, false) : NULL;
}

/* "address:port", which config_check has seen. */
static struct err *split_place(const char *where, char **ret_address, uint16_t *ret_port)
{
    const char *colon = strrchr(where, ':');
    uint64_t port = 0;
    if (str_u64(view_of(colon + 1), 0, 65535, &port) < 0)
        return err_internal("no port in '%s'", where);
    *ret_address = mem_strndup(where, (size_t)(colon - where));
    *ret_port = (uint16_t)port;
    return NULL;
}

static struct err *listen_on(struct daemon *d, const char *where, bool tls)
{
    _cleanup_(freep) char *address = NULL;
    uint16_t port, got;
    if (!*where)
        return NULL;
    TRY(split_place(where, &address, &port));
    got = port;
    if (tls)
        TRY(open_tls(d));
    TRY(listen_tcp(d, address, port, tls ? d->tls : NULL, &got));
    log_info("event=listening address=%s port=%u tls=%s", address, got, tls ? "yes" : "no");
    if (tls || !d->clients_port) {
        d->clients_port = got;
        d->clients_tls = tls;
    }
    return NULL;
}

/* Sockets handed over by whoever started us replace our own TCP ones; one named "https" is. */
static struct err *open_sockets(struct daemon *d)
{
    bool tls[NET_INHERITED_MAX];
    unsigned inherited = net_inherited(tls);
    for (unsigned i = 0; i < inherited; i++) {
        d->inherited_tls[i] = tls[i];
        d->inherited[d->n_inherited++] = fcntl(3 + (int)i, F_DUPFD_CLOEXEC, 3 + NET_INHERITED_MAX);
        if (tls[i] && !d->tls)
            TRY(open_tls(d));
        TRY(net_listen_fd(d->net, 3 + (int)i, tls[i] ? d->tls : NULL));
        log_info("event=listening descriptor=%u tls=%s", 3 + i, tls[i] ? "yes" : "no");
    }
    if (!inherited) {
        TRY(listen_on(d, d->config.listen_http, false));
        TRY(listen_on(d, d->config.listen_https, true));
    }
    if (d->clients_port)
        TRY(ops_listens_at(d->ops, d->clients_tls, d->clients_port));
    else
        TRY(ops_listens_at(d->ops, true, 443)); /* sockets of a service manager */
    return net_listen_unix(d->net, d->config.local_socket, 0666);
}

/* Disks can be read elsewhere, too: without this port the host starts all the same. */
static void open_gate(struct daemon *d)
{
    _cleanup_(freep) char *address = NULL;
    uint16_t port;
    if (!*d->config.listen_nbd)
        return;
    struct err *e = split_place(d->config.listen_nbd, &address, &port);
    if (!e)
        e = nbd_gate_new(&d->handlers, d->tls, address, port, &d->gate);
    if (e) {
        _cleanup_(freep) char *text = err_text(e);
        log_warn("event=no-nbd where=%s error=%s", d->config.listen_nbd, text);
        err_free(e);
        return;
    }
    ops_nbd_at(d->ops, nbd_gate_port(d->gate));
}

/* For ops_config, like what follows: on operation threads, which end before the net does. */
static struct err *https_only(void *arg, bool on)
{
    struct daemon *d = arg;
    return d->net && net_set_https_only(d->net, on)
               ? NULL
               : err_OPERATION_NOT_ALLOWED("this host does not listen for HTTPS");
}

struct asked_stats {
    const char *method, *path;
    struct val *rows;
};

static void add_route(void *arg, const struct net_route *r, uint64_t n)
{
    const struct asked_stats *a = arg;
    char number[24];
    if ((*a->method && !str_eq(a->method, r->method)) ||
        (*a->path && !str_eq(a->path, r->path_prefix)))
        return;
    struct val *row = val_set();
    snprintf(number, sizeof(number), "%" PRIu64, n);
    val_add_str(row, r->method);
    val_add_str(row, r->path_prefix);
    val_add_str(row, number);
    val_add(a->rows, row);
}

static void network_stats(void *arg, const char *method, const char *path, struct val *rows)
{
    struct daemon *d = arg;
    if (d->net)
        net_route_stats(d->net, add_route, &(struct asked_stats){method, path, rows});
}

static struct err *open_net(struct daemon *d)
{
    d->handlers =
        (struct handlers){.api = d->api,
                          .db = d->db,
                          .tasks = d->tasks,
                          .host = d->host,
                          .ops = d->ops,
                          .users_file = d->config.development ? d->config.users_file : NULL,
                          .development = d->config.development,
                          .owner = getuid(),
                          .rest = {.api = d->api, .db = d->db}};
    struct net_config nc = {.arg = &d->handlers, .web_root = d->config.web_dir};
    nc.routes = handler_routes(&nc.n_routes);
    TRY(net_new(&nc, &d->net));
    TRY(open_sockets(d));
    open_gate(d);
    if (host_wants_https_only(d->ops) && !net_set_https_only(d->net, true))
        log_warn("event=https-only ignoring=there is no socket for it");
    return NULL;
}

static void dump_tasks(struct daemon *d, struct buf *out)
{
    tasks_dump(d->tasks, out);
}

static void dump_sessions(struct daemon *d, struct buf *out)
{
    api_dump(d->api, out);
}

static void dump_net(struct daemon *d, struct buf *out)
{
    net_dump(d->net, out);
}

static void dump_loop(struct daemon *d, struct buf *out)
{
    (void)d;
    loop_dump(out);
}

static void dump_state(struct daemon *d, struct buf *out)
{
    db_dump(d->db, out);
}

static void dump_watch(struct daemon *d, struct buf *out)
{
    watch_dump(d->db, out);
}

static void dump_metrics(struct daemon *d, struct buf *out)
{
    metrics_dump(ops_metrics(d->ops), out);
}

static const struct dump {
    const char *name;
    void (*fn)(struct daemon *d, struct buf *out);
} dumps[] = {{"tasks", dump_tasks}, {"claims", dump_tasks}, {"sessions", dump_sessions},
             {"net", dump_net},     {"threads", dump_net},  {"loop", dump_loop},
             {"state", dump_state}, {"watch", dump_watch},  {"metrics", dump_metrics}};

#define DUMPS "tasks|claims|sessions|net|threads|loop|state|watch|metrics"

/* Some names show the same; without a name each is shown once. */
static struct err *dump(void *arg, unsigned argc, const char *const *argv, struct buf *out)
{
    bool found = argc < 2;
    for (size_t i = 0; i < ARRAY_LEN(dumps); i++) {
        if (argc < 2 && i && dumps[i].fn == dumps[i - 1].fn)
            continue;
        if (argc > 1 && !str_eq(dumps[i].name, argv[1]))
            continue;
        if (argc < 2)
            buf_printf(out, "== %s\n", dumps[i].name);
        dumps[i].fn(arg, out);
        found = true;
    }
    return found ? NULL : err_internal("there is no dump '%s'; there are: " DUMPS, argv[1]);
}

/* For ops_config; while the daemon serves, so everything is there. */
static void tell_all(void *arg, struct buf *out)
{
    err_free(dump(arg, 0, NULL, out));
}

#define SR_WORDS "tree UUID | place UUID | tune UUID SPLIT BUDGET"

/* Two lines: what measures, and where. */
static struct err *sr_place(struct daemon *d, const char *uuid, struct buf *out)
{
    buf_printf(out, "%s\n", d->config.diskd);
    return ops_sr_place(d->ops, uuid, out);
}

static struct err *of_sr(void *arg, unsigned argc, const char *const *argv, struct buf *out)
{
    struct daemon *d = arg;
    if (argc == 3 && str_eq(argv[1], "tree"))
        return ops_sr_tree(d->ops, argv[2], out);
    if (argc == 3 && str_eq(argv[1], "place"))
        return sr_place(d, argv[2], out);
    if (argc == 5 && str_eq(argv[1], "tune"))
        return ops_sr_tune(d->ops, argv[2], argv[3], argv[4], out);
    return err_internal("what is known is: sr " SR_WORDS);
}

static struct err *open_control(struct daemon *d)
{
    ctl_register("sr", SR_WORDS, of_sr, d);
    ctl_register("dump", DUMPS, dump, d);
    if (d->config.development)
        fault_control();
    return ctl_listen(d->loop, d->config.control_socket, &d->ctl);
}

static struct err *open_all(struct daemon *d)
{
    TRY(make_folders(&d->config));
    TRY(take_lock(d));
    TRY(err_wrap(open_state(d), "opening the store"));
    TRY(err_wrap(open_host(d), "finding the host's hands"));
    TRY(err_wrap(open_operations(d), "recovering"));
    TRY(err_wrap(open_api(d), "opening the API"));
    TRY(err_wrap(open_control(d), "opening the control socket"));
    return err_wrap(open_net(d), "opening sockets");
}

static void save_metrics(struct daemon *d)
{
    int r = d->ops ? metrics_save_all(ops_metrics(d->ops)) : 0;
    if (r < 0)
        log_warn("event=metrics-not-saved error=%d", -r);
}

/* False when an operation does not end in time: all it may use is left as it is. */
static bool close_all(struct daemon *d)
{
    usec_t deadline = clock_now() + d->config.stop_wait_s * USEC_PER_SEC;
    loop_timer_free(d->again_timer);
    net_stop(d->net);
    nbd_gate_free(steal(&d->gate));
    api_stop(d->api);
    if (d->tasks)
        tasks_wind_down(d->tasks, deadline);
    net_free(steal(&d->net));
    if (!tasks_stop(d->tasks, deadline)) {
        save_metrics(d);
        return false;
    }
    if (!d->again)
        host_settings_end(d->ops);
    auth_free(d->auth); /* whose threads let go of calls, and so use the API */
    api_free(d->api);
    audit_free(d->audit);
    host_free(d->host);
    save_metrics(d);
    ops_free(d->ops);
    ctl_free(d->ctl);
    db_close(d->db);
    tls_context_free(d->tls);
    fd_close(d->lock_fd);
    config_done(&d->config);
    return true;
}

static struct err *tick(void *arg)
{
    return ops_tick(((struct daemon *)arg)->ops);
}

static struct err *tidy(void *arg)
{
    return ops_tidy(((struct daemon *)arg)->ops);
}

static struct err *measure(void *arg)
{
    return ops_measure(((struct daemon *)arg)->ops);
}

static struct err *backup(void *arg)
{
    return ops_backup(((struct daemon *)arg)->ops);
}

static struct err *collect(void *arg)
{
    struct daemon *d = arg;
    api_expire(d->api);
    return tasks_gc(d->tasks);
}

/* What a burst of large answers has left behind. */
static struct err *give_back(void *arg)
{
    struct daemon *d = arg;
    (void)resident_trim(&d->resident, KEPT_MEMORY);
    return NULL;
}

static struct err *space(void *arg)
{
    return ops_space(((struct daemon *)arg)->ops);
}

/* On a thread of their own: what may wait for storage. */
static const struct chore slow_chores[] = {{"space", space, 60 * USEC_PER_SEC}};

enum { CHORE_TICK, CHORE_MEASURE };
static const struct chore chores[] = {{"tick", tick, 5 * USEC_PER_SEC},
                                      {"measure", measure, 5 * USEC_PER_SEC},
                                      {"tidy", tidy, 500 * USEC_PER_MSEC},
                                      {"collect", collect, 30 * USEC_PER_SEC},
                                      {"give-back", give_back, 10 * USEC_PER_SEC},
                                      {"backup", backup, 600 * USEC_PER_SEC}};

static void on_signal(void *arg, int fd, unsigned events)
{
    (void)events;
    struct daemon *d = arg;
    struct signalfd_siginfo got = {0};
    if (read(fd, &got, sizeof(got)) != (ssize_t)sizeof(got))
        return;
    unsigned number = got.ssi_signo;
    log_info("event=stopping signal=%u", number);
    loop_stop(d->loop);
}

static void serve(struct daemon *d, int signals)
{
    struct loop_fd *watch = loop_fd_add(d->loop, signals, LOOP_READ, on_signal, d);
    memcpy(d->chore_list, chores, sizeof(chores));
    if (str_eq(d->config.hypervisor, "sim") && d->config.sim_speed > 1)
        d->chore_list[CHORE_MEASURE].every /= d->config.sim_speed;
    d->chores = chores_start(d->chore_list, ARRAY_LEN(chores), d);
    d->slow = chores_start(slow_chores, ARRAY_LEN(slow_chores), d);
    log_info("event=ready socket=%s", d->config.local_socket);
    loop_run(d->loop);
    chores_stop(d->slow);
    chores_stop(d->chores);
    loop_fd_del(watch);
}

static int fail(struct err *e)
{
    _cleanup_(freep) char *text = err_text(e);
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

/* Sockets that were handed over are handed on; the numbers 3, 4, … are free again by now. */
static void hand_on_sockets(struct daemon *d)
{
    _cleanup_(buf_done) struct buf names;
    buf_init(&names, 256);
    for (unsigned i = 0; i < d->n_inherited; i++) {
        (void)dup2(d->inherited[i], 3 + (int)i);
        buf_puts(&names, i ? ":" : "");
        buf_puts(&names, d->inherited_tls[i] ? "https" : "http");
    }
    char number[16];
    snprintf(number, sizeof(number), "%u", d->n_inherited);
    setenv("LISTEN_FDS", number, 1);
    setenv("LISTEN_FDNAMES", buf_str(&names), 1);
    snprintf(number, sizeof(number), "%d", (int)getpid());
    setenv("LISTEN_PID", number, 1);
}

/* The same process begins anew, as if it had been started again: guests and disks run on. */
static int start_again(struct daemon *d, char **argv)
{
    const char *program = strchr(argv[0], '/') ? argv[0] : "/proc/self/exe";
    if (d->n_inherited)
        hand_on_sockets(d);
    execv(program, argv);
    log_err("event=cannot-restart program=%s errno=%d", program, errno);
    return 1;
}

/* Thousands of clients may be connected at the same time. */
static void raise_limits(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max < DESCRIPTORS ? r.rlim_max : DESCRIPTORS;
        (void)setrlimit(RLIMIT_NOFILE, &r);
    }
}

static int run(struct daemon *d)
{
    raise_limits();
    enum log_level level;
    if (log_parse_level(d->config.log_level, &level) == 0)
        log_set_level(NULL, level);
    _cleanup_(fd_closep) int signals = block_signals();
    d->loop = loop_new("main");
    struct err *e = open_all(d);
    if (!e)
        serve(d, signals);
    if (close_all(d))
        loop_free(d->loop);
    else if (!d->again)
        _exit(d->lost); /* past what operations still use; they are recovered at the next start */
    return e ? fail(e) : d->lost;
}

#define ARENAS 4 /* of malloc; each keeps free memory of its own, and most threads sleep */

int main(int argc, char **argv)
{
    (void)mallopt(M_ARENA_MAX, ARENAS);
    struct daemon d = {.lock_fd = -1};
    enum options_mode mode;
    config_init(&d.config);
    struct err *e = options_read(&d.config, argc, argv, &mode);
    if (!e && mode == OPTIONS_RUN) {
        int code = run(&d);
        return d.again ? start_again(&d, argv) : code;
    }
    if (!e)
        config_print(&d.config);
    config_done(&d.config);
    return e ? fail(e) : 0;
}
