/* machine.c: see machine.h. Called on operation threads. */
#include "host/machine.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/timex.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/str.h"
#include "gen/error.h"
#include "host/host_impl.h"
#include "host/priv.h"
#include "loop/child.h"

#define NAME_MAX_BYTES 64 /* what Linux can hold */
#define TEXT_MAX       4096
#define ZONES          "/usr/share/zoneinfo"
#define ZONE_TABLE     ZONES "/tzdata.zi"
#define ZONE_TABLE_MAX (1u << 20)
#define LETTERS        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS         "0123456789"

/* ---- asking cairn-privd ---- */

static struct err *ask(const struct host *h, const char *verb, const char *key, const char *value)
{
    struct val *v = val_map();
    val_put_str(v, "verb", verb);
    val_put_str(v, key, value);
    return priv_do(h->privd, v);
}

static struct err *ask_number(const struct host *h, const char *verb, const char *key,
                              int64_t value)
{
    struct val *v = val_map();
    val_put_str(v, "verb", verb);
    val_put_int(v, key, value);
    return priv_do(h->privd, v);
}

/* ---- names ---- */

const char *machine_bad_hostname(const char *name)
{
    size_t size = strlen(name), label = 0;
    if (!size)
        return "the name is empty";
    if (size > NAME_MAX_BYTES)
        return "the name has more than 64 characters";
    for (size_t i = 0; i <= size; i++) {
        if (name[i] == '.' || !name[i]) {
            if (!label || name[i - 1] == '-')
                return "a label of the name is empty or ends with '-'";
            label = 0;
            continue;
        }
        if (!strchr(LETTERS DIGITS "-", name[i]) || (!label && name[i] == '-'))
            return "the name may hold letters, digits and '-', and no label begins with '-'";
        label++;
    }
    return NULL;
}

bool machine_is_server(const char *name)
{
    size_t size = strlen(name);
    return size && size <= 253 && name[strspn(name, LETTERS DIGITS ".:-")] == '\0' &&
           strchr(LETTERS DIGITS ":", *name);
}

/* ---- a development run ---- */

bool machine_is_real(const struct host *h)
{
    return !h->machine_dir;
}

/* What the machine would have been told; `text` gets its line feed here. */
static struct err *write_down(const struct host *h, const char *name, const char *text)
{
    int r = fd_mkdirs(h->machine_dir, 0755);
    _cleanup_(freep) char *path = mem_printf("%s/%s", h->machine_dir, name);
    _cleanup_(freep) char *line = mem_printf("%s\n", text);
    if (r == 0)
        r = fd_replace_file(path, line, strlen(line), 0644);
    return r < 0 ? err_errno(-r, "cannot write '%s'", path) : NULL;
}

char *machine_told_hostname(const struct host *h)
{
    if (!h->machine_dir)
        return NULL;
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, TEXT_MAX);
    _cleanup_(freep) char *path = mem_printf("%s/hostname", h->machine_dir);
    if (fd_read_file(path, TEXT_MAX, &text) < 0)
        return NULL;
    struct view v = {buf_str(&text), text.size}, line;
    view_split(&v, '\n', &line);
    return line.size ? view_dup(line) : NULL;
}

struct err *machine_set_hostname(struct host *h, const char *name)
{
    return h->machine_dir ? write_down(h, "hostname", name) : ask(h, "set-hostname", "name", name);
}

/* ---- time ---- */

bool machine_is_timezone(const char *name)
{
    if (!*name || *name == '/' || strstr(name, "..") ||
        name[strspn(name, LETTERS DIGITS "/_+-")] != '\0' || strlen(name) > NAME_MAX_BYTES)
        return false;
    _cleanup_(freep) char *path = mem_printf(ZONES "/%s", name);
    _cleanup_(buf_done) struct buf head;
    buf_init(&head, ZONE_TABLE_MAX);
    return fd_read_file(path, ZONE_TABLE_MAX, &head) == 0 && str_starts(buf_str(&head), "TZif");
}

/* Lines "Z name …" are zones, "L target name" other names of them. */
struct val *machine_timezones(void)
{
    struct val *all = val_set();
    _cleanup_(buf_done) struct buf text;
    buf_init(&text, ZONE_TABLE_MAX);
    if (fd_read_file(ZONE_TABLE, ZONE_TABLE_MAX, &text) < 0)
        buf_clear(&text); /* no zones are installed */
    struct view rest = {buf_str(&text), text.size}, line, word, name;
    while (view_split(&rest, '\n', &line)) {
        bool link = view_starts(line, "L ");
        if (!link && !view_starts(line, "Z "))
            continue;
        view_split(&line, ' ', &word);
        if (link)
            view_split(&line, ' ', &word);
        view_split(&line, ' ', &name);
        val_add(all, val_str_n(name.p, name.size));
    }
    if (!val_count(all))
        val_add_str(all, "UTC");
    return all;
}

char *machine_timezone(void)
{
    char path[4096];
    ssize_t n = readlink("/etc/localtime", path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = '\0';
    const char *name = strstr(path, "zoneinfo/");
    return mem_strdup(name && machine_is_timezone(name + 9) ? name + 9 : "UTC");
}

struct err *machine_set_timezone(struct host *h, const char *name)
{
    return h->machine_dir ? write_down(h, "timezone", name) : ask(h, "set-timezone", "zone", name);
}

static char *joined(const struct val *names)
{
    struct buf b;
    buf_init(&b, TEXT_MAX);
    val_each (name, names)
        buf_printf(&b, "%s%s", b.size ? " " : "", name);
    char *text = mem_strdup(buf_str(&b));
    buf_done(&b);
    return text;
}

struct err *machine_set_ntp(struct host *h, enum machine_ntp mode, const struct val *servers)
{
    _cleanup_(freep) char *list = joined(mode == MACHINE_NTP_CUSTOM ? servers : val_empty_set());
    bool on = mode != MACHINE_NTP_OFF;
    if (!h->machine_dir) {
        struct val *v = val_map();
        val_put_str(v, "verb", "set-ntp");
        val_put_bool(v, "enabled", on);
        val_put_str(v, "servers", list);
        return priv_do(h->privd, v);
    }
    _cleanup_(freep) char *text = mem_printf("%s %s", on ? "on" : "off", list);
    return write_down(h, "ntp", text);
}

bool machine_clock_is_synchronized(void)
{
    struct timex now = {0};
    return adjtimex(&now) >= 0 && !(now.status & STA_UNSYNC);
}

/* A line "ServerName=…" of what the machine's client of time servers tells of itself. */
char *machine_ntp_server(const struct host *h)
{
    if (h->machine_dir)
        return NULL;
    const char *argv[] = {"timedatectl", "show-timesync", "--property=ServerName", "--value", NULL};
    struct child_spec spec = {.argv = argv};
    struct child_exit how = {0};
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, TEXT_MAX);
    struct err *e = child_run(&spec, 5 * USEC_PER_SEC, &out, NULL, &how);
    bool good = !e && how.code == 0;
    err_free(e);
    struct view name = view_trim((struct view){buf_str(&out), strcspn(buf_str(&out), "\n")});
    return good && name.size ? view_dup(name) : NULL;
}

struct err *machine_set_clock(struct host *h, int64_t seconds)
{
    if (h->machine_dir)
        return err_OPERATION_NOT_ALLOWED("a development run does not set the machine's clock");
    return ask_number(h, "set-clock", "seconds", seconds);
}

/* ---- access, logs, power ---- */

struct err *machine_set_ssh(struct host *h, bool on)
{
    return h->machine_dir ? write_down(h, "ssh", on ? "enabled" : "disabled")
                          : ask(h, "set-ssh", "state", on ? "enabled" : "disabled");
}

struct err *machine_set_firewall(struct host *h, const char *service, bool on)
{
    const char *state = on ? "enabled" : "disabled";
    if (h->machine_dir) {
        _cleanup_(freep) char *name = mem_printf("firewall-%s", service);
        return write_down(h, name, state);
    }
    struct val *v = val_map();
    val_put_str(v, "verb", "set-firewall");
    val_put_str(v, "service", service);
    val_put_str(v, "state", state);
    return priv_do(h->privd, v);
}

struct err *machine_set_console_timeout(struct host *h, unsigned seconds)
{
    char text[16];
    snprintf(text, sizeof(text), "%u", seconds);
    return h->machine_dir ? write_down(h, "console-timeout", text)
                          : ask_number(h, "set-console-timeout", "seconds", seconds);
}

struct err *machine_set_syslog(struct host *h, const char *server)
{
    return h->machine_dir ? write_down(h, "syslog", server)
                          : ask(h, "set-syslog", "server", server);
}

struct err *machine_power(struct host *h, bool reboot)
{
    return h->machine_dir ? write_down(h, "power", reboot ? "reboot" : "poweroff")
                          : ask(h, "power", "action", reboot ? "reboot" : "poweroff");
}

unsigned machine_numa_nodes(void)
{
    unsigned n = 0;
    DIR *folder = opendir("/sys/devices/system/node");
    if (!folder)
        return 1;
    for (const struct dirent *d; (d = readdir(folder));) {
        uint64_t number;
        if (str_starts(d->d_name, "node") &&
            str_u64(view_of(d->d_name + 4), 0, UINT32_MAX, &number) == 0)
            n++;
    }
    closedir(folder);
    return n ? n : 1;
}
