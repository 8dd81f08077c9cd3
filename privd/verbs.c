/*
 * verbs.c: mount, umount, mkfs, examine, tap-add, tap-del, authenticate, run-plugin, listen, ping.
 *
 * Called once per child process by main.c; may block. Nothing here runs a shell or takes a path to
 * a program from outside.
 */
#include "privd/verbs.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <security/pam_appl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "privd/examine.h"
#include "privd/run.h"

#define MOUNT_FLAGS  (MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME)
#define PATH_CEILING 4096
#define OUTPUT_MAX   (1U << 20)
#define BACKLOG      512

struct call {
    const struct privd_config *config;
    uid_t uid;
    const struct val *request;
    struct reply *reply;
};

/* --- arguments --- */

/* The text of an argument, "" when it is missing or no text. */
static const char *text(const struct call *c, const char *key)
{
    const struct val *v = val_map_get(c->request, key);
    return v && val_kind(v) == VAL_STRING ? val_get_str(v) : "";
}

static bool flag(const struct call *c, const char *key)
{
    const struct val *v = val_map_get(c->request, key);
    return v && val_kind(v) == VAL_BOOL && val_get_bool(v);
}

static bool only(const char *s, const char *letters)
{
    return s[0] && s[strspn(s, letters)] == '\0';
}

#define LOWER  "abcdefghijklmnopqrstuvwxyz"
#define UPPER  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

static char *check_device(const char *device)
{
    if (!str_starts(device, "/dev/") || strstr(device, "/../") || strlen(device) >= PATH_CEILING)
        return mem_strdup("the device is not a path below /dev");
    return NULL;
}

/* One name below the mount folder, nothing that leads out of it. */
static char *check_folder(const struct call *c, const char *dir)
{
    size_t size = strlen(c->config->mounts);
    if (strncmp(dir, c->config->mounts, size) != 0 || dir[size] != '/' ||
        !only(dir + size + 1, LOWER UPPER DIGITS "-_"))
        return mem_printf("the folder is not one below '%s'", c->config->mounts);
    return NULL;
}

/* --- file systems --- */

static char *verb_examine(struct call *c)
{
    const char *device = text(c, "device");
    char *problem = check_device(device), *found = NULL;
    if (problem)
        return problem;
    int r = examine_device(device, &found);
    if (r < 0)
        return mem_printf("cannot examine '%s': %s", device, strerror(-r));
    val_put_str(c->reply->result, "found", found);
    free(found);
    return NULL;
}

static char *verb_mkfs(struct call *c)
{
    const char *device = text(c, "device"), *label = text(c, "label");
    char *problem = check_device(device);
    _cleanup_(freep) char *found = NULL;
    if (problem)
        return problem;
    if (!only(label, LOWER DIGITS "-") || strlen(label) > 16)
        return mem_strdup("the label is not 1 to 16 of a-z, 0-9 and '-'");
    int r = examine_device(device, &found);
    if (r < 0)
        return mem_printf("cannot examine '%s': %s", device, strerror(-r));
    bool busy = str_starts(found, "is ");
    if (found[0] && (busy || !flag(c, "force")))
        return mem_printf("'%s' %s", device, found);
    const char *argv[] = {"/sbin/mkfs.ext4", "-q", "-F", "-m", "0", "-L", label, device, NULL};
    struct run_result out = {0};
    r = run_program(argv, NULL, OUTPUT_MAX, &out);
    problem = r < 0 || out.status != 0
                  ? mem_printf("mkfs.ext4 failed: %.300s", out.err ? out.err : strerror(-r))
                  : NULL;
    run_result_done(&out);
    return problem;
}

static char *verb_mount(struct call *c)
{
    const char *device = text(c, "device"), *dir = text(c, "folder");
    char *problem = check_device(device);
    if (!problem)
        problem = check_folder(c, dir);
    if (problem)
        return problem;
    int mounted = 0, r = examine_ext4(device, dir, &mounted);
    if (r == -EMEDIUMTYPE)
        return mem_printf("'%s' carries no ext4", device);
    if (r < 0)
        return mem_printf("cannot mount '%s': %s", device, strerror(-r));
    if (mounted)
        return NULL;
    r = fd_mkdirs(dir, 0755);
    if (r < 0)
        return mem_printf("cannot make '%s': %s", dir, strerror(-r));
    if (mount(device, dir, "ext4", MOUNT_FLAGS, NULL) < 0)
        return mem_printf("cannot mount '%s': %s", device, strerror(errno));
    if (chown(dir, c->uid, (gid_t)-1) < 0) {
        problem = mem_printf("cannot hand over '%s': %s", dir, strerror(errno));
        (void)umount2(dir, 0);
    }
    return problem;
}

static char *verb_umount(struct call *c)
{
    const char *dir = text(c, "folder");
    char *problem = check_folder(c, dir);
    if (problem)
        return problem;
    if (umount2(dir, UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT)
        return mem_printf("cannot unmount '%s': %s", dir, strerror(errno));
    (void)rmdir(dir);
    return NULL;
}

/* --- taps --- */

static char *set_tap(const struct call *c, bool persistent)
{
    const char *name = text(c, "name");
    if (!str_starts(name, "cairn") || !only(name + 5, LOWER DIGITS ".") || strlen(name) >= IFNAMSIZ)
        return mem_strdup("the name is not 'cairn' and up to 10 of a-z, 0-9 and '.'");
    _cleanup_(fd_closep) int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &ifr) < 0)
        return mem_printf("cannot make the tap '%s': %s", name, strerror(errno));
    if (ioctl(fd, TUNSETOWNER, (unsigned long)c->uid) < 0 ||
        ioctl(fd, TUNSETPERSIST, persistent ? 1UL : 0UL) < 0)
        return mem_printf("cannot set up the tap '%s': %s", name, strerror(errno));
    return NULL;
}

static char *verb_tap_add(struct call *c)
{
    return set_tap(c, true);
}

/* Opening one that is absent makes it, and it goes with the descriptor. */
static char *verb_tap_del(struct call *c)
{
    return set_tap(c, false);
}

/* --- passwords --- */

static int answer_pam(int n, const struct pam_message **messages, struct pam_response **ret,
                      void *password)
{
    struct pam_response *answers = calloc((size_t)n, sizeof(*answers));
    if (!answers)
        return PAM_BUF_ERR;
    for (int i = 0; i < n; i++)
        if (messages[i]->msg_style == PAM_PROMPT_ECHO_OFF ||
            messages[i]->msg_style == PAM_PROMPT_ECHO_ON)
            answers[i].resp = strdup(password);
    *ret = answers;
    return PAM_SUCCESS;
}

static char *verb_authenticate(struct call *c)
{
    const char *user = text(c, "user");
    _cleanup_(freep) char *password = mem_strdup(text(c, "password"));
    struct pam_conv conversation = {.conv = answer_pam, .appdata_ptr = password};
    pam_handle_t *pam = NULL;
    int r = pam_start(c->config->pam_service, user, &conversation, &pam);
    if (r != PAM_SUCCESS)
        return mem_strdup("PAM does not start");
    r = pam_authenticate(pam, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
    if (r == PAM_SUCCESS)
        r = pam_acct_mgmt(pam, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
    pam_end(pam, r);
    explicit_bzero(password, strlen(password));
    val_put_bool(c->reply->result, "accepted", r == PAM_SUCCESS);
    return NULL;
}

/* --- plugins --- */

static char *check_plugin(const char *path)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return mem_strdup("there is no such plugin");
    if (!S_ISREG(st.st_mode) || st.st_uid != 0 || (st.st_mode & (S_IWGRP | S_IWOTH)) ||
        !(st.st_mode & S_IXUSR))
        return mem_strdup("the plugin is not a program that belongs to root alone");
    return NULL;
}

static char *verb_run_plugin(struct call *c)
{
    const char *plugin = text(c, "plugin"), *input = text(c, "input");
    bool extension = val_map_get(c->request, "input") != NULL;
    if (!c->config->plugins)
        return mem_strdup("no folder of plugins is configured");
    if (plugin[0] == '.' || !only(plugin, LOWER UPPER DIGITS "._-"))
        return mem_strdup("the name of the plugin has other letters than a-z, 0-9, '.', '_', '-'");
    _cleanup_(freep) char *path = mem_printf("%s/%s", c->config->plugins, plugin);
    char *problem = check_plugin(path);
    if (problem)
        return problem;
    const char *argv[] = {path, extension ? "--xmlrpc" : text(c, "argument"), NULL};
    struct run_result out = {0};
    int r = run_program(argv, extension ? input : NULL, OUTPUT_MAX, &out);
    if (r < 0)
        problem = mem_printf("cannot run the plugin: %s", strerror(-r));
    val_put_int(c->reply->result, "status", out.status);
    val_put_str(c->reply->result, "stdout", out.out ? out.out : "");
    val_put_str(c->reply->result, "stderr", out.err ? out.err : "");
    run_result_done(&out);
    return problem;
}

/* --- ports --- */

static char *verb_listen(struct call *c)
{
    const struct val *port = val_map_get(c->request, "port");
    if (!port || val_kind(port) != VAL_INT || (val_get_int(port) != 80 && val_get_int(port) != 443))
        return mem_strdup("the port is neither 80 nor 443");
    struct sockaddr_in6 a6 = {.sin6_family = AF_INET6,
                              .sin6_port = htons((uint16_t)val_get_int(port))};
    struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_port = a6.sin6_port};
    bool v4 = inet_pton(AF_INET, text(c, "address"), &a4.sin_addr) == 1;
    if (!v4 && inet_pton(AF_INET6, text(c, "address"), &a6.sin6_addr) != 1)
        return mem_strdup("the address is not a numeric one");
    _cleanup_(fd_closep) int fd = socket(v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, v4 ? (struct sockaddr *)&a4 : (struct sockaddr *)&a6,
             v4 ? sizeof(a4) : sizeof(a6)) < 0 ||
        listen(fd, BACKLOG) < 0)
        return mem_printf("cannot listen: %s", strerror(errno));
    c->reply->fd = fd_take(&fd);
    return NULL;
}

static char *verb_ping(struct call *c)
{
    val_put_int(c->reply->result, "pid", getppid());
    return NULL;
}

static const struct {
    const char *name;
    char *(*fn)(struct call *c);
} verbs[] = {
    {"authenticate", verb_authenticate},
    {"examine", verb_examine},
    {"listen", verb_listen},
    {"mkfs", verb_mkfs},
    {"mount", verb_mount},
    {"ping", verb_ping},
    {"run-plugin", verb_run_plugin},
    {"tap-add", verb_tap_add},
    {"tap-del", verb_tap_del},
    {"umount", verb_umount},
};

char *verbs_execute(const struct privd_config *config, uid_t uid, const struct val *request,
                    struct reply *ret)
{
    struct call c = {.config = config, .uid = uid, .request = request, .reply = ret};
    if (val_kind(request) != VAL_MAP)
        return mem_strdup("the request is not an object");
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (str_eq(verbs[i].name, text(&c, "verb")))
            return verbs[i].fn(&c);
    return mem_strdup("there is no such verb");
}
