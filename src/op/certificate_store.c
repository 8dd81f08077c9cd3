/* certificate_store.c: see certificate.h. Operation threads, but for what is on core. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "op/certificate.h"

#define DAY 86400

/* ---- files ---- */

char *cert_path(const struct ops *ops, const char *folder, const char *name)
{
    const char *dir = ops->cfg.state_dir;
    return *folder ? mem_printf("%s/%s/%s", dir, folder, name) : mem_printf("%s/%s", dir, name);
}

struct err *cert_read(const struct ops *ops, const char *folder, const char *name, struct buf *ret)
{
    _cleanup_(freep) char *path = cert_path(ops, folder, name);
    int r = fd_read_file(path, PEM_MAX, ret);
    return r < 0 ? err_errno(-r, "cannot read '%s'", path) : NULL;
}

struct err *cert_write(const struct ops *ops, const char *folder, const char *name,
                       const char *text, mode_t mode)
{
    _cleanup_(freep) char *path = cert_path(ops, folder, name);
    _cleanup_(freep) char *dir = cert_path(ops, "", folder);
    int r = *folder ? fd_mkdirs(dir, 0755) : 0;
    if (r == 0)
        r = fd_replace_file(path, text, strlen(text), mode);
    return r < 0 ? err_errno(-r, "cannot write '%s'", path) : NULL;
}

struct err *cert_remove(const struct ops *ops, const char *folder, const char *name)
{
    _cleanup_(freep) char *path = cert_path(ops, folder, name);
    return unlink(path) < 0 && errno != ENOENT ? err_errno(errno, "cannot remove '%s'", path)
                                               : NULL;
}

bool cert_exists(const struct ops *ops, const char *folder, const char *name)
{
    _cleanup_(freep) char *path = cert_path(ops, folder, name);
    return access(path, F_OK) == 0;
}

static int is_visible(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

struct val *cert_names(const struct ops *ops, const char *folder)
{
    _cleanup_(freep) char *dir = cert_path(ops, "", folder);
    struct val *names = val_set();
    struct dirent **found = NULL;
    int n = scandir(dir, &found, is_visible, alphasort);
    for (int i = 0; i < n; i++) {
        val_add_str(names, found[i]->d_name);
        free(found[i]);
    }
    free(found);
    return names;
}

/* ---- records ---- */

void cert_put(struct rec_Certificate *c, const struct x509_facts *f)
{
    c->not_before = f->not_before;
    c->not_after = f->not_after;
    rstr_set(&c->fingerprint, f->sha256);
    rstr_set(&c->fingerprint_sha256, f->sha256);
    rstr_set(&c->fingerprint_sha1, f->sha1);
}

const struct rec_Certificate *cert_of(struct txn *t, enum certificate_type type, const char *name)
{
    txn_each (row, t, CLASS_Certificate) {
        const struct rec_Certificate *c = rec_Certificate(row);
        if (c->type == type && str_eq(c->name, name))
            return c;
    }
    return NULL;
}

/* ---- alerts ---- */

static const struct kind {
    const char *prefix, *what;
} kinds[] = {
    [CERTIFICATE_TYPE_CA] = {"POOL_CA_CERTIFICATE", "CA pool certificate"},
    [CERTIFICATE_TYPE_HOST] = {"HOST_SERVER_CERTIFICATE", "TLS server certificate"},
    [CERTIFICATE_TYPE_HOST_INTERNAL] = {"HOST_INTERNAL_CERTIFICATE",
                                        "internal TLS server certificate"},
    [CERTIFICATE_TYPE_PINNED] = {"POOL_PINNED_CERTIFICATE", "pinned pool certificate"},
};

static const struct stage {
    int64_t within;
    const char *suffix;
    int64_t priority;
} stages[] = {{0, "EXPIRED", 1},
              {7 * DAY, "EXPIRING_07", 1},
              {14 * DAY, "EXPIRING_14", 2},
              {30 * DAY, "EXPIRING_30", 3}};

static const struct stage *stage_of(const struct rec_Certificate *c, int64_t now)
{
    for (size_t i = 0; i < ARRAY_LEN(stages); i++)
        if (c->not_after - now <= stages[i].within)
            return &stages[i];
    return NULL;
}

/* Leaves the alert of this object that says so; true if it is there already. */
static bool drop_others(struct txn *t, const char *uuid, const char *prefix, const char *name,
                        const char *body)
{
    bool there = false;
    txn_each (row, t, CLASS_message) {
        const struct rec_message *m = rec_message(row);
        if (!str_eq(m->obj_uuid, uuid) || !str_starts(m->name, prefix))
            continue;
        if (str_eq(m->name, name) && str_eq(m->body, body))
            there = true;
        else
            txn_delete(t, CLASS_message, row->ref);
    }
    return there;
}

static void alert_for(struct txn *t, const struct rec_Certificate *c, int64_t now)
{
    const struct stage *s = stage_of(c, now);
    const struct rec_host *h = txn_host(t, c->host);
    const char *uuid = h ? h->uuid : c->uuid;
    const struct kind *k = &kinds[c->type];
    char date[DATETIME_SIZE];
    str_datetime(c->not_after, date);
    _cleanup_(freep) char *name = mem_printf("%s_%s", k->prefix, s ? s->suffix : "");
    _cleanup_(freep) char *body =
        mem_printf("<body><message>The %s %s.</message><date>%s</date></body>", k->what,
                   s && !s->within ? "has expired" : "is expiring soon", date);
    if (!drop_others(t, uuid, k->prefix, name, body) && s)
        alert_add(t, name, s->priority, h ? CLS_HOST : CLS_CERTIFICATE, uuid, body);
}

static struct err *alerts_txn(struct txn *t, void *arg)
{
    (void)arg;
    txn_each (row, t, CLASS_Certificate)
        alert_for(t, rec_Certificate(row), now_s());
    return NULL;
}

struct err *cert_alerts(struct ops *ops)
{
    return db_write(ops->cfg.db, "certificate alerts", alerts_txn, NULL);
}
