/* verbs.c: see verbs.h. Read by request.c and server.c. */
#include "privd/verbs.h"

#include <linux/capability.h>
#include <unistd.h>

#include "privd/confine.h"

#define CAP(name) CONFINE_CAP(CAP_##name)
#define TEXT(member, check)                                                                        \
    {                                                                                              \
        .name = member, .kind = VAL_STRING, .rule = check                                          \
    }
/* PAM's modules read shadow files, keep tallies, audit, and some change their uid to look. */
#define CAPS_PAM                                                                                   \
    (CAP(AUDIT_WRITE) | CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(DAC_READ_SEARCH) | CAP(FOWNER) |      \
     CAP(SETGID) | CAP(SETUID))

/* Nothing takes longer than a client waits, which is 60 s. */
const struct verb verbs[] = {
    {.name = "mount",
     .members = {TEXT("device", rule_device), TEXT("folder", rule_folder)},
     .run = verb_mount,
     .caps = CAP(SYS_ADMIN) | CAP(CHOWN),
     .seconds = 50},
    {.name = "umount",
     .members = {TEXT("folder", rule_folder)},
     .run = verb_umount,
     .caps = CAP(SYS_ADMIN),
     .seconds = 50},
    {.name = "examine",
     .members = {TEXT("device", rule_device)},
     .run = verb_examine,
     .seconds = 50},
    {.name = "mkfs",
     .members = {TEXT("device", rule_device),
                 TEXT("label", rule_label),
                 {.name = "force", .kind = VAL_BOOL, .optional = true}},
     .run = verb_mkfs,
     .runs_programs = true,
     .seconds = 55},
    {.name = "tap-add",
     .members = {TEXT("name", rule_tap)},
     .run = verb_tap_add,
     .caps = CAP(NET_ADMIN),
     .seconds = 10},
    {.name = "tap-del",
     .members = {TEXT("name", rule_tap)},
     .run = verb_tap_del,
     .caps = CAP(NET_ADMIN),
     .seconds = 10},
    {.name = "authenticate",
     .members = {TEXT("user", rule_user), TEXT("password", rule_password)},
     .run = verb_authenticate,
     .caps = CAPS_PAM,
     .runs_programs = true,
     .seconds = 30},
    {.name = "run-plugin",
     .members = {TEXT("plugin", rule_plugin),
                 TEXT("argument", rule_argument),
                 {.name = "input", .kind = VAL_STRING, .rule = rule_any, .optional = true}},
     .run = verb_run_plugin,
     .runs_programs = true,
     .unconfined = true,
     .seconds = 55},
    {.name = "run-extension",
     .members = {TEXT("extension", rule_plugin), TEXT("input", rule_any)},
     .run = verb_run_extension,
     .runs_programs = true,
     .unconfined = true,
     .seconds = 55},
    {.name = "listen",
     .members = {TEXT("address", rule_address),
                 {.name = "port", .kind = VAL_INT, .min = 1, .max = 1023}},
     .run = verb_listen,
     .caps = CAP(NET_BIND_SERVICE),
     .seconds = 10},
    {.name = "set-hostname",
     .members = {TEXT("name", rule_hostname)},
     .run = verb_set_hostname,
     .runs_programs = true,
     .seconds = 30},
    {.name = "set-timezone",
     .members = {TEXT("zone", rule_zone)},
     .run = verb_set_timezone,
     .runs_programs = true,
     .seconds = 30},
    {.name = "set-ntp",
     .members = {{.name = "enabled", .kind = VAL_BOOL}, TEXT("servers", rule_servers)},
     .run = verb_set_ntp,
     .runs_programs = true,
     .seconds = 50},
    {.name = "set-clock",
     .members = {{.name = "seconds", .kind = VAL_INT, .min = 0, .max = UINT32_MAX}},
     .run = verb_set_clock,
     .runs_programs = true,
     .seconds = 30},
    {.name = "set-ssh",
     .members = {TEXT("state", rule_switch)},
     .run = verb_set_ssh,
     .runs_programs = true,
     .seconds = 50},
    {.name = "set-firewall",
     .members = {TEXT("service", rule_service), TEXT("state", rule_switch)},
     .run = verb_set_firewall,
     .runs_programs = true,
     .seconds = 50},
    {.name = "set-console-timeout",
     .members = {{.name = "seconds", .kind = VAL_INT, .min = 0, .max = INT32_MAX}},
     .run = verb_set_console_timeout,
     .seconds = 10},
    {.name = "set-syslog",
     .members = {TEXT("server", rule_server)},
     .run = verb_set_syslog,
     .runs_programs = true,
     .seconds = 50},
    {.name = "power",
     .members = {TEXT("action", rule_power)},
     .run = verb_power,
     .runs_programs = true,
     .seconds = 30},
    {.name = "kernel-log",
     .members = {{.name = "clear", .kind = VAL_BOOL}},
     .run = verb_kernel_log,
     .caps = CAP(SYSLOG),
     .seconds = 10},
    {.name = "ping", .run = verb_ping, .seconds = 10},
    {0},
};

struct err *verb_ping(const struct place *p, const struct request *r, struct val *answer,
                      int *ret_fd)
{
    (void)p, (void)r, (void)ret_fd;
    val_put_int(answer, "pid", getppid());
    return NULL;
}
