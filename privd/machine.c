/*
 * machine.c: settings of the machine: its name, zone, clock, time servers, ssh, syslog, power.
 *
 * Called in a worker. What the service manager's own tools can do is left to them, by fixed command
 * lines; what they cannot is a file of ours in a folder that its reader looks through, never a
 * change of somebody else's file. Without --etc-dir all of it is refused.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "privd/run.h"
#include "privd/verbs.h"

#define TOOLS        "/usr/bin"
#define SECONDS      25
#define OURS         "# Made by cairn-privd; it is written anew when the host's settings change.\n"

#define TIME_FILE    "systemd/timesyncd.conf.d/50-cairn.conf"
#define SYSLOG_FILE  "rsyslog.d/50-cairn.conf"
#define CONSOLE_FILE "profile.d/cairn-console-timeout.sh"

static struct err *allowed(const struct place *p)
{
    return p->etc_dir ? NULL : err_internal("the settings of this machine are not Cairn's to make");
}

static const char *tools(const struct place *p)
{
    return p->tools_dir ? p->tools_dir : TOOLS;
}

/* Runs a tool with up to four words; what it complains of becomes the error. */
static struct err *tool(const struct place *p, const char *name, const char *const *words)
{
    _cleanup_(freep) char *path = mem_printf("%s/%s", tools(p), name);
    const char *argv[6] = {path};
    for (unsigned i = 0; i < 4 && words[i]; i++)
        argv[i + 1] = words[i];
    struct run_spec spec = {.argv = argv, .seconds = SECONDS};
    _cleanup_(freep) char *called = mem_printf("%s %s", name, words[0]);
    return run_tool(&spec, called);
}
#define TOOL(p, name, ...) tool((p), (name), (const char *const[5]){__VA_ARGS__})

/* A text of "" removes the file. */
static struct err *put_file(const struct place *p, const char *name, const char *text)
{
    _cleanup_(freep) char *path = mem_printf("%s/%s", p->etc_dir, name);
    if (!*text)
        return unlink(path) < 0 && errno != ENOENT ? err_errno(errno, "cannot remove '%s'", path)
                                                   : NULL;
    _cleanup_(freep) char *folder = mem_strndup(path, (size_t)(strrchr(path, '/') - path));
    _cleanup_(freep) char *all = mem_printf(OURS "%s", text);
    int r = fd_mkdirs(folder, 0755);
    if (r == 0)
        r = fd_replace_file(path, all, strlen(all), 0644);
    return r < 0 ? err_errno(-r, "cannot write '%s'", path) : NULL;
}

struct err *verb_set_hostname(const struct place *p, const struct request *r, struct val *answer,
                              int *ret_fd)
{
    (void)answer, (void)ret_fd;
    TRY(allowed(p));
    return TOOL(p, "hostnamectl", "set-hostname", "--", request_str(r, "name"));
}

struct err *verb_set_timezone(const struct place *p, const struct request *r, struct val *answer,
                              int *ret_fd)
{
    (void)answer, (void)ret_fd;
    TRY(allowed(p));
    return TOOL(p, "timedatectl", "set-timezone", "--", request_str(r, "zone"));
}

struct err *verb_set_ntp(const struct place *p, const struct request *r, struct val *answer,
                         int *ret_fd)
{
    (void)answer, (void)ret_fd;
    bool on = request_bool(r, "enabled");
    const char *servers = request_str(r, "servers");
    TRY(allowed(p));
    _cleanup_(freep) char *text =
        *servers ? mem_printf("[Time]\nNTP=%s\nFallbackNTP=\n", servers) : mem_strdup("");
    TRY(put_file(p, TIME_FILE, text));
    TRY(TOOL(p, "timedatectl", "set-ntp", on ? "true" : "false"));
    return on ? TOOL(p, "systemctl", "try-restart", "systemd-timesyncd.service") : NULL;
}

struct err *verb_set_clock(const struct place *p, const struct request *r, struct val *answer,
                           int *ret_fd)
{
    (void)answer, (void)ret_fd;
    char at[32];
    TRY(allowed(p));
    snprintf(at, sizeof(at), "@%" PRId64, request_int(r, "seconds"));
    return TOOL(p, "timedatectl", "set-time", "--", at);
}

/* The unit is called so on Debian; elsewhere it is sshd. */
struct err *verb_set_ssh(const struct place *p, const struct request *r, struct val *answer,
                         int *ret_fd)
{
    (void)answer, (void)ret_fd;
    TRY(allowed(p));
    const char *change = str_eq(request_str(r, "state"), "enabled") ? "enable" : "disable";
    struct err *e = TOOL(p, "systemctl", change, "--now", "ssh.service");
    if (!e)
        return NULL;
    struct err *other = TOOL(p, "systemctl", change, "--now", "sshd.service");
    if (other)
        return err_first(e, other);
    err_free(e);
    return NULL;
}

/* Where there is no firewalld, nobody has to be told. */
struct err *verb_set_firewall(const struct place *p, const struct request *r, struct val *answer,
                              int *ret_fd)
{
    (void)answer, (void)ret_fd;
    bool on = str_eq(request_str(r, "state"), "enabled");
    _cleanup_(freep) char *path = mem_printf("%s/firewall-cmd", tools(p));
    _cleanup_(freep) char *change =
        mem_printf("--%s-service=%s", on ? "add" : "remove", request_str(r, "service"));
    TRY(allowed(p));
    if (access(path, X_OK) < 0)
        return NULL;
    TRY(TOOL(p, "firewall-cmd", "--permanent", change));
    return TOOL(p, "firewall-cmd", "--reload");
}

struct err *verb_set_console_timeout(const struct place *p, const struct request *r,
                                     struct val *answer, int *ret_fd)
{
    (void)answer, (void)ret_fd;
    int64_t seconds = request_int(r, "seconds");
    TRY(allowed(p));
    _cleanup_(freep) char *text =
        seconds ? mem_printf("TMOUT=%" PRId64 "\nreadonly TMOUT\nexport TMOUT\n", seconds)
                : mem_strdup("");
    return put_file(p, CONSOLE_FILE, text);
}

struct err *verb_set_syslog(const struct place *p, const struct request *r, struct val *answer,
                            int *ret_fd)
{
    (void)answer, (void)ret_fd;
    const char *server = request_str(r, "server");
    bool v6 = strchr(server, ':') != NULL;
    TRY(allowed(p));
    _cleanup_(freep) char *text =
        *server ? mem_printf("*.* @%s%s%s\n", v6 ? "[" : "", server, v6 ? "]" : "")
                : mem_strdup("");
    TRY(put_file(p, SYSLOG_FILE, text));
    return TOOL(p, "systemctl", "try-restart", "rsyslog.service");
}

/* The answer goes out while the machine is still on its way down. */
struct err *verb_power(const struct place *p, const struct request *r, struct val *answer,
                       int *ret_fd)
{
    (void)answer, (void)ret_fd;
    TRY(allowed(p));
    return TOOL(p, "systemctl", request_str(r, "action"), "--no-block");
}
