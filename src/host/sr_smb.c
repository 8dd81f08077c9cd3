/*
 * sr_smb.c: disks as files on a share of an SMB server, the kind "smb".
 *
 * device-config: server (//server/share, with folders in the share behind it), username and
 * password. The disks are in a folder <SR uuid> there, as XenServer has them. The server is spoken
 * to by cairn-diskd itself, in dialects 2.1 to 3.0.2. Nothing is mounted.
 *
 * Called through sr.c on operation threads.
 */
#include <errno.h>
#include <string.h>

#include "base/str.h"
#include "host/sr_file.h"
#include "host/sr_net.h"
#include "host/sr_share.h"
#include "host/sr_store.h"

static const char *config(const struct sr_ref *sr, const char *key)
{
    return val_map_str(sr->device_config, key, "");
}

static struct sr_share share_of(const struct sr_ref *sr, const char *folder)
{
    return (struct sr_share){.location = config(sr, "server"),
                             .user = config(sr, "username"),
                             .password = config(sr, "password"),
                             .folder = folder};
}

static struct err *mount_error(const char *why)
{
    return sr_error(SR_SMB_MOUNT, "SMB mount error", why);
}

/* A name that cannot be resolved leads nowhere, which is told by whoever goes there. */
static char *smb_folder(struct host *h, const struct sr_ref *sr)
{
    const struct sr_share share = share_of(sr, sr->uuid);
    char *url = NULL;
    struct err *e = sr_share_url(h, sr, &share, &url);
    err_free(e);
    return url ? url : mem_printf("smb://0.0.0.0/none//%s", sr->uuid);
}

/* *ret_url: the location; the login is there from now on. */
static struct err *enter(struct host *h, const struct sr_ref *sr, char **ret_url)
{
    const struct sr_share share = share_of(sr, "");
    if (!share.location[0])
        return sr_error(SR_SERVER_MISSING, "The request is missing the server parameter", "");
    if (!share.user[0] != !share.password[0])
        return sr_error(SR_PARAMS_MISSING, "Not all required parameters specified.",
                        "username and password belong together");
    TRY(sr_share_url(h, sr, &share, ret_url));
    if (!*ret_url)
        return mount_error("the server parameter is not //server/share");
    return sr_share_login(h, sr, &share);
}

static struct err *list_folder(struct host *h, const char *url, struct store_list *ret)
{
    int r = store_list(h, url, ret);
    return r < 0 ? mount_error(sr_share_why(r)) : NULL;
}

static struct err *find(struct host *h, const struct sr_ref *sr, char **ret)
{
    _cleanup_(freep) char *url = NULL;
    _cleanup_(store_list_done) struct store_list l = {0};
    struct sr_xml x;
    TRY(enter(h, sr, &url));
    TRY(list_folder(h, url, &l));
    sr_xml_begin(&x, "SRlist");
    vec_each (entry, &l.entries) {
        if (!entry->is_folder || !str_is_uuid(entry->name))
            continue;
        sr_xml_open(&x, "SR");
        sr_xml_text(&x, "UUID", entry->name);
        sr_xml_close(&x, "SR");
    }
    *ret = sr_xml_end(&x, "SRlist");
    return NULL;
}

static struct err *smb_probe(struct host *h, const struct verb *v, const struct sr_ref *sr,
                             char **ret)
{
    struct err *e = find(h, sr, ret);
    sr_share_logout(h, sr);
    return e;
}

static struct err *make(struct host *h, const struct sr_ref *sr)
{
    _cleanup_(freep) char *url = NULL;
    _cleanup_(store_list_done) struct store_list l = {0};
    TRY(enter(h, sr, &url));
    TRY(list_folder(h, url, &l));
    _cleanup_(freep) char *dir = smb_folder(h, sr);
    int r = store_mkdir(h, dir);
    if (r == 0 || r == -EEXIST)
        return NULL;
    return sr_error(r == -ENOSPC || r == -EDQUOT ? SR_NO_SPACE : SR_SMB_CREATE,
                    "Failed to create SMB SR.", strerror(-r));
}

static struct err *smb_create(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    struct err *e = make(h, sr);
    if (e)
        sr_share_logout(h, sr);
    return e;
}

static struct err *take_up(struct host *h, const struct sr_ref *sr)
{
    _cleanup_(freep) char *url = NULL;
    _cleanup_(store_list_done) struct store_list l = {0};
    TRY(enter(h, sr, &url));
    _cleanup_(freep) char *dir = smb_folder(h, sr);
    TRY(list_folder(h, dir, &l));
    return sr_file_tidy(h, dir);
}

static struct err *smb_attach(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    struct err *e = take_up(h, sr);
    if (e)
        sr_share_logout(h, sr);
    return e;
}

static struct err *smb_detach(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    sr_share_logout(h, sr);
    return NULL;
}

/* A folder in which others have put something stays. */
static struct err *clear(struct host *h, const struct sr_ref *sr)
{
    _cleanup_(freep) char *url = NULL;
    TRY(enter(h, sr, &url));
    _cleanup_(freep) char *dir = smb_folder(h, sr);
    struct store_list l = {0};
    int r = store_list(h, dir, &l);
    store_list_done(&l);
    if (r == -ENOENT)
        return NULL;
    TRY(sr_file_clear(h, dir));
    (void)store_rmdir(h, dir);
    return NULL;
}

static struct err *smb_destroy(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    struct err *e = clear(h, sr);
    sr_share_logout(h, sr);
    return e;
}

static const char *const features[] = {SR_FILE_FEATURES, "SR_PROBE", "SR_CACHING", "VDI_CONFIG_CBT",
                                       NULL};
static const char *const config_keys[][2] = {
    {"server", "//server/share, with folders in the share behind it"},
    {"username", "name, or DOMAIN\\name; none for a guest"},
    {"password", "password of the user"},
    {"password_secret", "uuid of a secret that holds the password"},
    {NULL, NULL}};

const struct sr_kind sr_kind_smb = {
    .type = "smb",
    .name = "SMB",
    .description = "Disks as VHD, qcow2 and raw files on an SMB server",
    .content_type = "user",
    .features = features,
    .config = config_keys,
    .shared = true,
    .folder = smb_folder,
    .probe = smb_probe,
    .create = smb_create,
    .destroy = smb_destroy,
    .attach = smb_attach,
    .detach = smb_detach,
    SR_FILE_VOLUMES,
};
