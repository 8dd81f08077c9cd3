/*
 * sr_nfs.c: disks as files on an NFS server, the kind "nfs".
 *
 * device-config: server, serverpath; options of XenServer's that do not matter here are accepted.
 * The disks are in <serverpath>/<SR uuid>, with sm-config:nosubdir=true in <serverpath> itself, so
 * a repository that XenServer made is found as it is. The server is spoken to by libnfs in
 * cairn-diskd, version 3: other versions are refused. Nothing is mounted.
 *
 * Called through sr.c on operation threads.
 */
#include <errno.h>
#include <string.h>

#include "base/str.h"
#include "host/sr_file.h"
#include "host/sr_net.h"
#include "host/sr_store.h"

static const char *config(const struct sr_ref *sr, const char *key)
{
    return val_map_str(sr->device_config, key, "");
}

static bool has_subdir(const struct sr_ref *sr)
{
    return !sr->sm_config || !str_eq(val_map_str(sr->sm_config, "nosubdir", ""), "true");
}

/* Absolute, with none of "//", "." and "..", and without a slash at its end. */
static bool is_clean_path(const char *path)
{
    return path[0] == '/' && path[1] && !strstr(path, "//") && !strstr(path, "/../") &&
           !strstr(path, "/./") && !str_ends(path, "/") && !str_ends(path, "/..") &&
           !str_ends(path, "/.");
}

static struct err *check_version(const struct sr_ref *sr)
{
    const char *version = config(sr, "nfsversion");
    if (!version[0] || str_eq(version, "3"))
        return NULL;
    return sr_error(SR_NFS_VERSION, "Invalid NFS version", SR_NFS_VERSIONS);
}

static struct err *server_of(const struct sr_ref *sr, char ret[INET6_ADDRSTRLEN])
{
    if (!config(sr, "server")[0])
        return sr_error(SR_SERVER_MISSING, "The request is missing the server parameter", "");
    TRY(check_version(sr));
    return sr_address(config(sr, "server"), ret);
}

/* What is below the export: "" for the export itself. */
static char *url_of(const struct sr_ref *sr, const char *address, const char *below)
{
    return mem_printf("nfs://%s%s//%s", address, config(sr, "serverpath"), below);
}

/* A name that cannot be resolved leads nowhere, which is told by whoever goes there. */
static char *nfs_folder(struct host *h, const struct sr_ref *sr)
{
    char address[INET6_ADDRSTRLEN];
    struct err *e = sr_address(config(sr, "server"), address);
    char *url = url_of(sr, e ? "0.0.0.0" : address, has_subdir(sr) ? sr->uuid : ".");
    err_free(e);
    return url;
}

static struct err *mount_error(int r)
{
    const char *why = r == -EHOSTUNREACH ? "the server does not answer" : strerror(-r);
    return sr_error(SR_NFS_MOUNT, "NFS mount error", why);
}

static char *exports_xml(const char *server, const struct val *exports)
{
    struct sr_xml x;
    sr_xml_begin(&x, "nfs-exports");
    for (size_t i = 0; exports && i < val_count(exports); i++) {
        sr_xml_open(&x, "Export");
        sr_xml_text(&x, "Target", server);
        sr_xml_text(&x, "Path", val_str_at(exports, i));
        sr_xml_text(&x, "Accesslist", "*");
        sr_xml_close(&x, "Export");
    }
    return sr_xml_end(&x, "nfs-exports");
}

/* No path was given: the error that lists those there are. */
static struct err *offer_exports(struct host *h, const struct sr_ref *sr, const char *address)
{
    _cleanup_(val_unrefp) struct val *answer = NULL;
    _cleanup_(freep) char *url = mem_printf("nfs://%s/", address);
    if (!h->disks->at)
        return err_SR_OPERATION_NOT_SUPPORTED(sr->uuid);
    struct err *e = h->disks->at(h->disks_data, "exports", url, NULL, &answer);
    if (e)
        return sr_wrap(e, SR_NFS_TARGET, "Unable to detect an NFS service on this target.");
    _cleanup_(freep) char *xml = exports_xml(config(sr, "server"), val_map_get(answer, "exports"));
    return sr_error(SR_SERVERPATH_MISSING, "The request is missing the serverpath parameter", xml);
}

/* *ret_url: the export. */
static struct err *place_of(struct host *h, const struct sr_ref *sr, char **ret_url)
{
    char address[INET6_ADDRSTRLEN];
    TRY(server_of(sr, address));
    if (!config(sr, "serverpath")[0])
        return offer_exports(h, sr, address);
    if (!is_clean_path(config(sr, "serverpath")))
        return sr_error(SR_SERVERPATH_MISSING, "The serverpath parameter is no absolute path",
                        config(sr, "serverpath"));
    *ret_url = url_of(sr, address, "");
    return NULL;
}

static struct err *list_export(struct host *h, const char *url, struct store_list *ret)
{
    int r = store_list(h, url, ret);
    return r < 0 ? mount_error(r) : NULL;
}

static struct err *nfs_probe(struct host *h, const struct verb *v, const struct sr_ref *sr,
                             char **ret)
{
    _cleanup_(freep) char *url = NULL;
    _cleanup_(store_list_done) struct store_list l = {0};
    struct sr_xml x;
    TRY(place_of(h, sr, &url));
    TRY(list_export(h, url, &l));
    sr_xml_begin(&x, "SRlist");
    vec_each (entry, &l.entries) {
        if (!entry->is_folder || !str_is_uuid(entry->name))
            continue;
        sr_xml_open(&x, "SR");
        sr_xml_text(&x, "UUID", entry->name);
        sr_xml_close(&x, "SR");
    }
    if (config(sr, "probeversion")[0]) {
        sr_xml_open(&x, "SupportedVersions");
        sr_xml_text(&x, "Version", "3");
        sr_xml_close(&x, "SupportedVersions");
    }
    *ret = sr_xml_end(&x, "SRlist");
    return NULL;
}

static struct err *nfs_create(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    _cleanup_(freep) char *url = NULL;
    _cleanup_(store_list_done) struct store_list l = {0};
    TRY(place_of(h, sr, &url));
    TRY(list_export(h, url, &l));
    if (!has_subdir(sr))
        return NULL;
    _cleanup_(freep) char *dir = nfs_folder(h, sr);
    int r = store_mkdir(h, dir);
    if (r == 0 || r == -EEXIST)
        return NULL;
    return sr_error(r == -ENOSPC || r == -EDQUOT ? SR_NO_SPACE : SR_NFS_MOUNT,
                    "The folder of the repository cannot be made", strerror(-r));
}

static struct err *nfs_attach(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    _cleanup_(freep) char *url = NULL;
    _cleanup_(store_list_done) struct store_list l = {0};
    TRY(place_of(h, sr, &url));
    _cleanup_(freep) char *dir = nfs_folder(h, sr);
    TRY(list_export(h, dir, &l));
    return sr_file_tidy(h, dir);
}

static struct err *nfs_detach(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    return NULL;
}

/* A folder in which others have put something stays. */
static struct err *nfs_destroy(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    _cleanup_(freep) char *url = NULL;
    TRY(place_of(h, sr, &url));
    _cleanup_(freep) char *dir = nfs_folder(h, sr);
    struct store_list l = {0};
    int r = store_list(h, dir, &l);
    store_list_done(&l);
    if (r == -ENOENT)
        return NULL;
    TRY(sr_file_clear(h, dir));
    if (has_subdir(sr))
        (void)store_rmdir(h, dir);
    return NULL;
}

static const char *const features[] = {SR_FILE_FEATURES, "SR_PROBE", "SR_CACHING", "VDI_CONFIG_CBT",
                                       NULL};
static const char *const config_keys[][2] = {
    {"server", "name or address of the NFS server"},
    {"serverpath", "path that the server exports"},
    {"nfsversion", "3, the only one"},
    {"options", "accepted, without effect"},
    {"useUDP", "accepted, without effect"},
    {"probeversion", "probe tells which versions can be used"},
    {NULL, NULL}};

const struct sr_kind sr_kind_nfs = {
    .type = "nfs",
    .name = "NFS",
    .description = "Disks as VHD, qcow2 and raw files on an NFS server",
    .content_type = "user",
    .features = features,
    .config = config_keys,
    .shared = true,
    .folder = nfs_folder,
    .probe = nfs_probe,
    .create = nfs_create,
    .destroy = nfs_destroy,
    .attach = nfs_attach,
    .detach = nfs_detach,
    SR_FILE_VOLUMES,
};
