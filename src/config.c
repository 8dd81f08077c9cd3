/* config.c: see config.h. The table below is the list of keys; man page cairn.conf(5) explains. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"

#define FILE_MAX_SIZE (256 << 10)

/* Where a key lives, and its default in an installed host and in a development run (where '@'
 * stands for the folder). */
struct key {
    const char *name;
    size_t offset;
    const char *installed;
    const char *development; /* NULL: the same */
    const char *const *choices;
};

static const char *const hypervisors[] = {"qemu", "sim", NULL};
static const char *const accels[] = {"auto", "kvm", "tcg", NULL};
static const char *const levels[] = {"err", "warn", "info", "debug", NULL};

#define KEY(member, installed, development, choices)                                               \
    {                                                                                              \
#member, offsetof(struct config, member), installed, development, choices                  \
    }

static const struct key texts[] = {
    KEY(state_dir, "/var/lib/cairn", "@/state", NULL),
    KEY(run_dir, "/run/cairn", "@/run", NULL),
    KEY(log_dir, "/var/log/cairn", "@/log", NULL),
    KEY(sr_dir, "/var/lib/cairn/sr", "@/sr", NULL),
    KEY(iso_dir, "/var/lib/cairn/iso", "@/iso", NULL),
    KEY(listen_http, "0.0.0.0:80", "127.0.0.1:8080", NULL),
    KEY(listen_https, "0.0.0.0:443", "127.0.0.1:8443", NULL),
    KEY(listen_nbd, "0.0.0.0:10809", "127.0.0.1:0", NULL),
    KEY(local_socket, "/run/cairn/xapi", "@/run/xapi", NULL),
    KEY(control_socket, "/run/cairn/cairnd.ctl", "@/run/cairnd.ctl", NULL),
    KEY(users_file, "", "@/users", NULL),
    KEY(store, "sqlite:/var/lib/cairn/state.db", "sqlite:@/state/state.db", NULL),
    KEY(hypervisor, "qemu", NULL, hypervisors),
    KEY(accel, "auto", NULL, accels),
    KEY(qemu, "qemu-system-x86_64", NULL, NULL),
    KEY(diskd, CAIRN_LIBEXEC_DIR "/cairn-diskd", "", NULL),
    KEY(privd_socket, "/run/cairn-privd/socket", "", NULL),
    KEY(plugins_dir, CAIRN_CONF_DIR "/plugins", "@/plugins", NULL),
    KEY(extensions_dir, CAIRN_CONF_DIR "/extensions", "@/extensions", NULL),
    KEY(templates_dir, CAIRN_DATA_DIR "/templates", CAIRN_SOURCE_DIR "/data/templates", NULL),
    KEY(web_dir, CAIRN_DATA_DIR "/web", "", NULL),
    KEY(hostname, "", NULL, NULL),
    KEY(product_brand, "Cairn", NULL, NULL),
    KEY(product_version, "8.4.0", NULL, NULL),
    KEY(log_level, "info", NULL, levels),
};

static const struct {
    const char *name;
    size_t offset;
    uint64_t deflt, max;
} numbers[] = {
    {"encoding_cache_mib", offsetof(struct config, encoding_cache_mib), 32, 4096},
    {"shutdown_wait_s", offsetof(struct config, shutdown_wait_s), 60, 3600},
    {"stop_wait_s", offsetof(struct config, stop_wait_s), 20, 3600},
    {"sim_speed", offsetof(struct config, sim_speed), 1, 1000},
};

static char **text_at(const struct config *c, const struct key *k)
{
    return (char **)((char *)(uintptr_t)c + k->offset);
}

static void put(struct config *c, const struct key *k, const char *value)
{
    char **at = text_at(c, k);
    free(*at);
    *at = mem_strdup(value);
}

static void default_hostname(struct config *c)
{
    char name[256] = "";
    if (gethostname(name, sizeof(name) - 1) < 0 || !*name)
        strcpy(name, "localhost");
    free(c->hostname);
    c->hostname = mem_strdup(name);
}

void config_init(struct config *c)
{
    *c = (struct config){0};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        put(c, &texts[i], texts[i].installed);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        *(uint64_t *)((char *)c + numbers[i].offset) = numbers[i].deflt;
    default_hostname(c);
}

void config_done(struct config *c)
{
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        free(*text_at(c, &texts[i]));
    *c = (struct config){0};
}

/* The default with each '@' replaced by the folder. */
static char *under(const char *dir, const char *text)
{
    const char *at = strchr(text, '@');
    return at ? mem_printf("%.*s%s%s", (int)(at - text), text, dir, at + 1) : mem_strdup(text);
}

/* cairn-diskd and the pages stand beside cairnd in a build folder. */
static void find_beside_us(struct config *c)
{
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n <= 0)
        return;
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    free(c->diskd);
    free(c->web_dir);
    c->diskd = mem_printf("%s/cairn-diskd", self);
    c->web_dir = mem_printf("%s/web", self);
}

struct err *config_development(struct config *c, const char *dir)
{
    int r = fd_mkdirs(dir, 0755);
    if (r < 0)
        return err_errno(-r, "cannot make the folder '%s'", dir);
    _cleanup_(freep) char *absolute = realpath(dir, NULL);
    if (!absolute)
        return err_errno(errno, "no such folder: '%s'", dir);
    c->development = true;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (!texts[i].development)
            continue;
        _cleanup_(freep) char *value = under(absolute, texts[i].development);
        put(c, &texts[i], value);
    }
    find_beside_us(c);
    return NULL;
}

static bool is_choice(const char *const *choices, const char *value)
{
    for (; *choices; choices++)
        if (str_eq(*choices, value))
            return true;
    return false;
}

static struct err *set_text(struct config *c, const struct key *k, const char *value)
{
    if (k->choices && !is_choice(k->choices, value)) {
        _cleanup_(buf_done) struct buf all;
        buf_init(&all, 1024);
        for (const char *const *p = k->choices; *p; p++)
            buf_printf(&all, "%s%s", p == k->choices ? "" : ", ", *p);
        return err_internal("'%s' cannot be '%s'; it is one of: %s", k->name, value, buf_str(&all));
    }
    put(c, k, value);
    return NULL;
}

static struct err *set(struct config *c, const char *key, const char *value)
{
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (str_eq(texts[i].name, key))
            return set_text(c, &texts[i], value);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        if (!str_eq(numbers[i].name, key))
            continue;
        uint64_t n;
        if (str_u64(view_of(value), 0, numbers[i].max, &n) < 0)
            return err_internal("'%s' must be a whole number up to %" PRIu64 ", not '%s'", key,
                                numbers[i].max, value);
        *(uint64_t *)((char *)c + numbers[i].offset) = n;
        return NULL;
    }
    return err_internal("there is no setting '%s'", key);
}

static struct err *set_line(struct config *c, struct view line)
{
    struct view key;
    if (!view_split(&line, '=', &key))
        return err_internal("'%.*s' is no 'key = value'", (int)key.size, key.p);
    _cleanup_(freep) char *k = view_dup(view_trim(key));
    _cleanup_(freep) char *v = view_dup(view_trim(line));
    return set(c, k, v);
}

struct err *config_set(struct config *c, const char *assignment)
{
    return set_line(c, view_of(assignment));
}

struct err *config_read(struct config *c, const char *path, bool optional)
{
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, FILE_MAX_SIZE);
    int r = fd_read_file(path, FILE_MAX_SIZE, &text);
    if (r == -ENOENT && optional)
        return NULL;
    if (r < 0)
        return err_errno(-r, "cannot read '%s'", path);
    struct view all = {buf_str(&text), text.size}, line;
    for (unsigned n = 1; all.size; n++) {
        view_split(&all, '\n', &line);
        struct view content;
        view_split(&line, '#', &content);
        content = view_trim(content);
        struct err *e = content.size ? set_line(c, content) : NULL;
        if (e)
            return err_wrap(e, "%s:%u", path, n);
    }
    return NULL;
}

static struct err *check_address(const char *key, const char *value)
{
    const char *colon = strrchr(value, ':');
    uint64_t port;
    if (!*value)
        return NULL;
    if (!colon || str_u64(view_of(colon + 1), 0, 65535, &port) < 0)
        return err_internal("'%s' must be ADDRESS:PORT, not '%s'", key, value);
    return NULL;
}

struct err *config_check(const struct config *c)
{
    TRY(check_address("listen_http", c->listen_http));
    TRY(check_address("listen_https", c->listen_https));
    TRY(check_address("listen_nbd", c->listen_nbd));
    if (!str_starts(c->store, "sqlite:") && !str_starts(c->store, "etcd:"))
        return err_internal("'store' must be sqlite:PATH or etcd:URL, not '%s'", c->store);
    if (c->development && access(c->users_file, R_OK) < 0)
        log_warn("event=no-users file=%s ignoring=passwords-over-the-network", c->users_file);
    return NULL;
}

void config_print(const struct config *c)
{
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        printf("%s = %s\n", texts[i].name, *text_at(c, &texts[i]));
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        printf("%s = %" PRIu64 "\n", numbers[i].name,
               *(const uint64_t *)((const char *)c + numbers[i].offset));
}
