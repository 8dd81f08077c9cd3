/*
 * sr_lvm_iscsi.c: which unit of an iSCSI target the volume group of a "lvmoiscsi" repository is on.
 * The rest is sr_lvm.c's.
 *
 * device-config: that of "iscsi" (sr_iscsi.c) and SCSIid. Attach asks the target which of its units
 * has that id, and keeps the answer as a link of that name for all that follow, as the login is
 * kept; both are gone after a boot of the machine.
 *
 * Called by sr_lvm.c on operation threads.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "host/lvm_unit.h"
#include "host/sr_iscsi.h"
#include "host/sr_lvm.h"

static const char *config(const struct sr_ref *sr, const char *key)
{
    return val_map_str(sr->device_config, key, "");
}

static char *link_path(const char *run_dir, const struct sr_ref *sr)
{
    _cleanup_(freep) char *name =
        sr->uuid[0] ? mem_strdup(sr->uuid) : mem_printf("probe-%p", (const void *)sr);
    return mem_printf("%s/sr-login/%s.unit", run_dir, name);
}

struct err *sr_lvm_unit(const struct sr_ref *sr, char **ret)
{
    char url[PATH_MAX];
    _cleanup_(freep) char *path = link_path(lvm_unit_run_dir(), sr);
    ssize_t n = readlink(path, url, sizeof(url));
    if (n <= 0 || (size_t)n == sizeof(url))
        return sr_error(SR_UNAVAILABLE, "The unit is not attached", config(sr, "SCSIid"));
    *ret = mem_strndup(url, (size_t)n);
    return NULL;
}

static struct err *keep_url(struct host *h, const struct sr_ref *sr, const char *url)
{
    _cleanup_(freep) char *path = link_path(h->run_dir, sr);
    _cleanup_(freep) char *part = mem_printf("%s.part", path);
    _cleanup_(freep) char *dir = mem_printf("%s/sr-login", h->run_dir);
    int r = fd_mkdirs(dir, 0700);
    (void)unlink(part);
    if (r == 0 && (symlink(url, part) < 0 || rename(part, path) < 0))
        r = -errno;
    return r < 0 ? sr_error(SR_GENERAL, "The unit's place cannot be kept", strerror(-r)) : NULL;
}

static int64_t number(const struct val *map, const char *key)
{
    const struct val *v = val_map_get(map, key);
    return v && val_kind(v) == VAL_INT ? val_get_int(v) : -1;
}

/* Without a SCSIid, or with one that the target has not: its units are the answer. */
static struct err *find_unit(const struct sr_ref *sr, const struct val *answer,
                             const struct val **ret)
{
    const struct val *luns = val_map_get(answer, "luns");
    const char *id = config(sr, "SCSIid");
    for (size_t i = 0; id[0] && luns && i < val_count(luns); i++) {
        *ret = val_at(luns, i);
        if (!str_eq(val_map_str(*ret, "id", ""), id))
            continue;
        return number(*ret, "block") == 512
                   ? NULL
                   : sr_error(SR_DEVICE_INVALID, "The unit cannot be used",
                              "only units with blocks of 512 bytes can be used");
    }
    _cleanup_(freep) char *xml = sr_iscsi_xml(answer);
    return sr_error(SR_LUN_MISSING, "The SCSIid parameter is missing or incorrect", xml);
}

static struct err *attach(struct host *h, const struct sr_ref *sr)
{
    _cleanup_(val_unrefp) struct val *answer = NULL;
    _cleanup_(freep) char *url = NULL;
    const struct val *unit = NULL;
    if (config(sr, "incoming_chapuser")[0])
        return sr_error(SR_ISCSI_LOGIN, "iSCSI login failed, verify CHAP credentials",
                        "a target that proves itself (incoming_chapuser) is not supported");
    TRY(sr_iscsi_login(h, sr));
    TRY(sr_iscsi_units(h, sr, &answer));
    TRY(find_unit(sr, answer, &unit));
    TRY(sr_iscsi_url(h, sr, (unsigned)number(unit, "lun"), &url));
    return keep_url(h, sr, url);
}

struct err *sr_lvm_unit_attach(struct host *h, const struct sr_ref *sr)
{
    struct err *e = str_eq(sr->type, "lvmoiscsi") ? attach(h, sr) : NULL;
    if (e)
        sr_lvm_unit_detach(h, sr);
    return e;
}

void sr_lvm_unit_detach(struct host *h, const struct sr_ref *sr)
{
    if (!str_eq(sr->type, "lvmoiscsi"))
        return;
    _cleanup_(freep) char *path = link_path(h->run_dir, sr);
    (void)unlink(path);
    sr_iscsi_logout(h, sr);
}
