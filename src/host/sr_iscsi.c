/*
 * sr_iscsi.c: the logical units of an iSCSI target as disks, the kind "iscsi".
 *
 * device-config: target, targetIQN, port (3260), chapuser and chappassword; XenServer's keys about
 * multipathing are accepted. Every unit is a raw disk whose location is its SCSI id. The target is
 * spoken to by libiscsi in cairn-diskd; how to log in is told to it by a file that attach writes,
 * which is gone after a boot of the machine.
 *
 * Called through sr.c on operation threads.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "base/vec.h"
#include "gen/error.h"
#include "host/host_impl.h"
#include "host/sr_iscsi.h"
#include "host/sr_net.h"

#define PORT "3260"

static const char *config(const struct sr_ref *sr, const char *key)
{
    return val_map_str(sr->device_config, key, "");
}

/* ---- where the target is, and who we are there ---- */

static char *chap_path(const struct host *h, const struct sr_ref *sr)
{
    _cleanup_(freep) char *name =
        sr->uuid[0] ? mem_strdup(sr->uuid) : mem_printf("probe-%p", (const void *)sr);
    return mem_printf("%s/sr-login/%s", h->run_dir, name);
}

struct err *sr_iscsi_login(struct host *h, const struct sr_ref *sr)
{
    _cleanup_(freep) char *path = chap_path(h, sr);
    _cleanup_(freep) char *dir = mem_printf("%s/sr-login", h->run_dir);
    _cleanup_(freep) char *text =
        mem_printf("%s\n%s", config(sr, "chapuser"), config(sr, "chappassword"));
    if (!config(sr, "chapuser")[0])
        return NULL;
    int r = fd_mkdirs(dir, 0700);
    if (r == 0)
        r = fd_replace_file(path, text, strlen(text), 0600);
    return r < 0 ? sr_error(SR_GENERAL, "The login cannot be kept", strerror(-r)) : NULL;
}

void sr_iscsi_logout(struct host *h, const struct sr_ref *sr)
{
    _cleanup_(freep) char *path = chap_path(h, sr);
    (void)unlink(path);
}

static struct err *check_port(const struct sr_ref *sr, uint64_t *ret)
{
    const char *port = config(sr, "port");
    if (str_u64(view_of(port[0] ? port : PORT), 1, 65535, ret) < 0)
        return sr_error(SR_ISCSI_PORT, "Invalid iSCSI port", port);
    return NULL;
}

/* What comes after the portal, with the login where there is one. */
static struct err *url_of(struct host *h, const struct sr_ref *sr, const char *rest, char **ret)
{
    char address[INET6_ADDRSTRLEN];
    uint64_t port;
    if (!config(sr, "target")[0])
        return sr_error(SR_TARGET_MISSING, "The request is missing the target parameter", "");
    TRY(check_port(sr, &port));
    TRY(sr_address(config(sr, "target"), address));
    bool six = strchr(address, ':');
    _cleanup_(freep) char *path = chap_path(h, sr);
    bool chap = config(sr, "chapuser")[0];
    *ret = mem_printf("iscsi://%s%s%s:%u/%s%s%s", six ? "[" : "", address, six ? "]" : "",
                      (unsigned)port, rest, chap ? "?chap=" : "", chap ? path : "");
    return NULL;
}

static struct err *ask(struct host *h, const struct sr_ref *sr, const char *verb, const char *rest,
                       struct val **ret)
{
    _cleanup_(freep) char *url = NULL;
    TRY(url_of(h, sr, rest, &url));
    if (!h->disks->at)
        return err_SR_OPERATION_NOT_SUPPORTED(sr->uuid);
    struct err *e = h->disks->at(h->disks_data, verb, url, NULL, ret);
    if (!e)
        return NULL;
    int en = err_get_errno(e);
    if (en == EKEYREJECTED)
        return sr_wrap(e, SR_ISCSI_LOGIN, "iSCSI login failed, verify CHAP credentials");
    if (en == ENOENT)
        return sr_wrap(e, SR_IQN_MISSING, "The target does not know this targetIQN");
    return sr_wrap(e, SR_ISCSI_TARGET, "Unable to connect to ISCSI service on target");
}

/* ---- what it offers ---- */

static char *targets_xml(const struct val *targets)
{
    struct sr_xml x;
    sr_xml_begin(&x, "iscsi-target-iqns");
    for (size_t i = 0; targets && i < val_count(targets); i++) {
        _cleanup_(freep) char *portal = mem_strdup(val_map_str(val_at(targets, i), "portal", ""));
        char index[24];
        snprintf(index, sizeof(index), "%zu", i);
        char *comma = strrchr(portal, ',');
        if (comma)
            *comma = '\0';
        char *colon = strrchr(portal, ':');
        if (colon)
            *colon = '\0';
        sr_xml_open(&x, "TGT");
        sr_xml_text(&x, "Index", index);
        sr_xml_text(&x, "IPAddress", portal);
        sr_xml_text(&x, "Port", colon ? colon + 1 : PORT);
        sr_xml_text(&x, "TargetIQN", val_map_str(val_at(targets, i), "iqn", ""));
        sr_xml_close(&x, "TGT");
    }
    return sr_xml_end(&x, "iscsi-target-iqns");
}

static struct err *offer_targets(struct host *h, const struct sr_ref *sr)
{
    _cleanup_(val_unrefp) struct val *answer = NULL;
    TRY(ask(h, sr, "targets", "", &answer));
    _cleanup_(freep) char *xml = targets_xml(val_map_get(answer, "targets"));
    return sr_error(SR_IQN_MISSING,
                    "The request is missing or has an incorrect target IQN parameter", xml);
}

struct err *sr_iscsi_units(struct host *h, const struct sr_ref *sr, struct val **ret)
{
    const char *iqn = config(sr, "targetIQN");
    if (!iqn[0])
        return offer_targets(h, sr);
    if (strpbrk(iqn, "/?"))
        return sr_error(SR_IQN_MISSING, "The targetIQN is none", iqn);
    return ask(h, sr, "luns", iqn, ret);
}

static uint64_t number(const struct val *map, const char *key)
{
    const struct val *v = val_map_get(map, key);
    return v && val_kind(v) == VAL_INT && val_get_int(v) > 0 ? (uint64_t)val_get_int(v) : 0;
}

/* A unit without a name of its own is known by its number. */
static char *location_of(const struct val *unit)
{
    const char *id = val_map_str(unit, "id", "");
    return id[0] ? mem_strdup(id) : mem_printf("lun-%u", (unsigned)number(unit, "lun"));
}

struct err *sr_iscsi_url(struct host *h, const struct sr_ref *sr, unsigned lun, char **ret)
{
    _cleanup_(freep) char *rest = mem_printf("%s/%u", config(sr, "targetIQN"), lun);
    return url_of(h, sr, rest, ret);
}

static struct err *read_unit(struct host *h, const struct sr_ref *sr, const struct val *unit,
                             struct sr_volume *ret)
{
    unsigned lun = (unsigned)number(unit, "lun");
    uint64_t size = number(unit, "size");
    bool odd = number(unit, "block") != 512;
    _cleanup_(freep) char *url = NULL;
    TRY(sr_iscsi_url(h, sr, lun, &url));
    *ret = (struct sr_volume){
        .uuid = mem_strdup(""),
        .location = location_of(unit),
        .name = mem_printf("LUN %u", lun),
        .path = steal(&url),
        .format = mem_strdup("raw"),
        .problem = mem_strdup(odd ? "only units with blocks of 512 bytes can be used" : ""),
        .virtual_bytes = size,
        .physical_bytes = size,
        .parent = mem_strdup(""),
        .is_written = true};
    return NULL;
}

char *sr_iscsi_xml(const struct val *answer)
{
    const struct val *luns = val_map_get(answer, "luns");
    struct sr_xml x;
    sr_xml_begin(&x, "iscsi-target");
    for (size_t i = 0; luns && i < val_count(luns); i++) {
        const struct val *unit = val_at(luns, i);
        char lun[12], size[24];
        snprintf(lun, sizeof(lun), "%u", (unsigned)number(unit, "lun"));
        snprintf(size, sizeof(size), "%llu", (unsigned long long)number(unit, "size"));
        sr_xml_open(&x, "LUN");
        sr_xml_text(&x, "vendor", val_map_str(unit, "vendor", ""));
        sr_xml_text(&x, "serial", val_map_str(unit, "serial", ""));
        sr_xml_text(&x, "LUNid", lun);
        sr_xml_text(&x, "size", size);
        sr_xml_text(&x, "SCSIid", val_map_str(unit, "id", ""));
        sr_xml_close(&x, "LUN");
    }
    return sr_xml_end(&x, "iscsi-target");
}

static struct err *iscsi_probe(struct host *h, const struct verb *v, const struct sr_ref *sr,
                               char **ret)
{
    _cleanup_(val_unrefp) struct val *answer = NULL;
    TRY(sr_iscsi_login(h, sr));
    struct err *e = sr_iscsi_units(h, sr, &answer);
    sr_iscsi_logout(h, sr);
    TRY(e);
    *ret = sr_iscsi_xml(answer);
    return NULL;
}

/* ---- the repository ---- */

/* Nothing is made on the target; it only has to let us in. */
static struct err *iscsi_check(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    _cleanup_(val_unrefp) struct val *answer = NULL;
    TRY(sr_iscsi_login(h, sr));
    struct err *e = sr_iscsi_units(h, sr, &answer);
    if (e)
        sr_iscsi_logout(h, sr);
    return e;
}

static struct err *iscsi_detach(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    sr_iscsi_logout(h, sr);
    return NULL;
}

struct volumes {
    VEC(struct sr_volume) list;
};

static struct err *read_units(struct host *h, const struct sr_ref *sr, struct volumes *found)
{
    _cleanup_(val_unrefp) struct val *answer = NULL;
    TRY(sr_iscsi_units(h, sr, &answer));
    const struct val *luns = val_map_get(answer, "luns");
    for (size_t i = 0; luns && i < val_count(luns); i++) {
        struct sr_volume vol;
        TRY(read_unit(h, sr, val_at(luns, i), &vol));
        vec_push(&found->list, vol);
    }
    return NULL;
}

static struct err *iscsi_scan(struct host *h, const struct verb *v, const struct sr_ref *sr,
                              struct sr_volume **ret, size_t *ret_n)
{
    struct volumes found = {0};
    struct err *e = read_units(h, sr, &found);
    if (e) {
        sr_volumes_free(found.list.v, found.list.n);
        return e;
    }
    *ret = found.list.v;
    *ret_n = found.list.n;
    return NULL;
}

static struct err *iscsi_stat(struct host *h, const struct sr_ref *sr, struct sr_stat *ret)
{
    struct volumes found = {0};
    struct err *e = read_units(h, sr, &found);
    *ret = (struct sr_stat){0};
    vec_each (vol, &found.list)
        ret->size_bytes += vol->physical_bytes;
    ret->used_bytes = ret->size_bytes;
    sr_volumes_free(found.list.v, found.list.n);
    return e;
}

static struct err *iscsi_vdi_info(struct host *h, const struct sr_ref *sr, const char *location,
                                  struct sr_volume *ret)
{
    struct volumes found = {0};
    TRY(read_units(h, sr, &found));
    struct err *e = sr_error(SR_VDI_UNAVAILABLE, "The VDI is not available", location);
    vec_each (vol, &found.list) {
        if (!e || !str_eq(vol->location, location))
            continue;
        *ret = *vol;
        *vol = (struct sr_volume){0};
        err_free(e);
        e = NULL;
    }
    sr_volumes_free(found.list.v, found.list.n);
    return e;
}

static const char *const features[] = {"SR_PROBE",   "SR_UPDATE",    "VDI_INTRODUCE",  "VDI_ATTACH",
                                       "VDI_DETACH", "VDI_ACTIVATE", "VDI_DEACTIVATE", NULL};
static const char *const config_keys[][2] = {{"target", "name or address of the iSCSI target"},
                                             {"targetIQN", "IQN of the target"},
                                             {"port", "port of the target, 3260 if none is given"},
                                             {"chapuser", "name for CHAP"},
                                             {"chappassword", "secret for CHAP"},
                                             {"multihomed", "accepted, without effect"},
                                             {"usediscoverynumber", "accepted, without effect"},
                                             {NULL, NULL}};

const struct sr_kind sr_kind_iscsi = {
    .type = "iscsi",
    .name = "iSCSI",
    .description = "Each logical unit of an iSCSI target is a disk",
    .content_type = "user",
    .features = features,
    .config = config_keys,
    .shared = true,
    .probe = iscsi_probe,
    .create = iscsi_check,
    .destroy = iscsi_detach,
    .attach = iscsi_check,
    .detach = iscsi_detach,
    .scan = iscsi_scan,
    .stat = iscsi_stat,
    .vdi_info = iscsi_vdi_info,
};
