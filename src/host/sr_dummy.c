/*
 * sr_dummy.c: disks in the host's memory, the kind "dummy": for trying things out.
 *
 * The files are in the run folder, which a boot of the machine empties. Called through sr.c on
 * operation threads.
 */
#include <errno.h>
#include <string.h>

#include "base/fd.h"
#include "host/sr_file.h"
#include "host/sr_store.h"

static char *dummy_folder(struct host *h, const struct sr_ref *sr)
{
    return mem_printf("%s/sr-dummy/%s", h->run_dir, sr->uuid);
}

static struct err *dummy_attach(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    _cleanup_(freep) char *dir = dummy_folder(h, sr);
    int r = fd_mkdirs(dir, 0700);
    return r < 0 ? sr_error(SR_UNAVAILABLE, "The folder cannot be made", strerror(-r)) : NULL;
}

static struct err *dummy_detach(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    return NULL;
}

static struct err *dummy_destroy(struct host *h, const struct verb *v, const struct sr_ref *sr)
{
    _cleanup_(freep) char *dir = dummy_folder(h, sr);
    int r = fd_remove_tree(dir);
    return r < 0 ? sr_error(SR_VDI_DELETE, "The folder cannot be removed", strerror(-r)) : NULL;
}

static const char *const features[] = {SR_FILE_FEATURES, "VDI_CONFIG_CBT", NULL};
static const char *const config_keys[][2] = {{NULL, NULL}};

const struct sr_kind sr_kind_dummy = {
    .type = "dummy",
    .name = "Dummy",
    .description = "Disks in the memory of this host, gone after it is started again",
    .content_type = "user",
    .features = features,
    .config = config_keys,
    .folder = dummy_folder,
    .create = dummy_attach,
    .destroy = dummy_destroy,
    .attach = dummy_attach,
    .detach = dummy_detach,
    SR_FILE_VOLUMES,
};
