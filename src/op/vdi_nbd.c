/*
 * vdi_nbd.c: where backup tools find a VDI over NBD: VDI.get_nbd_info, and the purposes of networks
 * that decide whether they do: nbd (with TLS) or insecure_nbd (without), never both in a pool.
 */
#include "gen/msg.h"
#include "op/certificate.h"
#include "op/vdi_cbt.h"

void ops_nbd_at(struct ops *ops, unsigned port)
{
    atomic_store(&ops->nbd_port, port);
}

static bool has_purpose(const struct rec_network *n, enum network_purpose p)
{
    return val_set_has(n->purpose, enum_network_purpose.values[p]);
}

enum nbd_mode ops_nbd_mode(const struct snap *s)
{
    enum nbd_mode mode = NBD_OFF;
    snap_each (row, s, CLASS_network) {
        if (has_purpose(rec_network(row), NETWORK_PURPOSE_NBD))
            return NBD_WITH_TLS;
        if (has_purpose(rec_network(row), NETWORK_PURPOSE_INSECURE_NBD))
            mode = NBD_PLAIN;
    }
    return mode;
}

/* ---- VDI.get_nbd_info ---- */

static struct err *certificate(struct op *op, char **ret_pem, char **ret_name)
{
    _cleanup_(buf_done) struct buf pem;
    buf_init(&pem, PEM_MAX);
    TRY(cert_read(ops_of(op), "", "cert.pem", &pem));
    *ret_pem = x509_first(buf_str(&pem));
    *ret_name = x509_name(buf_str(&pem));
    return *ret_pem && *ret_name ? NULL : err_internal("'cert.pem' holds no certificate");
}

static bool sees(const struct snap *s, const struct rec_host *h, const struct rec_VDI *vdi)
{
    snap_each (row, s, CLASS_PBD) {
        const struct rec_PBD *pbd = rec_PBD(row);
        if (pbd->currently_attached && str_eq(pbd->SR, vdi->SR) && str_eq(pbd->host, h->row.ref))
            return true;
    }
    return false;
}

struct err *msg_VDI_get_nbd_info(struct op *op, const struct args_VDI_get_nbd_info *a,
                                 struct val **ret)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(op->db);
    _cleanup_(freep) char *pem = NULL, *name = NULL;
    unsigned port = atomic_load(&ops_of(op)->nbd_port);
    enum nbd_mode mode = ops_nbd_mode(s);
    const struct rec_VDI *vdi;
    TRY(need_VDI(s, a->self, &vdi));
    TRY(cbt_need_data(vdi));
    if (mode == NBD_WITH_TLS && port)
        TRY(certificate(op, &pem, &name));
    _cleanup_(freep) char *export = mem_printf("/%s?session_id=%s", vdi->uuid, op->caller.session);
    *ret = val_set();
    snap_each (row, s, CLASS_host) {
        const struct rec_host *h = rec_host(row);
        if (mode == NBD_OFF || !port || !sees(s, h, vdi))
            continue;
        struct val *one = val_map();
        val_put_str(one, "exportname", export);
        val_put_str(one, "address", h->address);
        val_put_int(one, "port", port);
        val_put_str(one, "cert", pem ? pem : "");
        val_put_str(one, "subject", name ? name : "");
        val_add(*ret, one);
    }
    return NULL;
}

/* ---- the purposes ---- */

struct purpose_arg {
    const char *network;
    enum network_purpose purpose;
    bool add;
};

static struct err *purpose_txn(struct txn *t, void *arg)
{
    struct purpose_arg *a = arg;
    const char *text = enum_network_purpose.values[a->purpose];
    enum network_purpose other =
        a->purpose == NETWORK_PURPOSE_NBD ? NETWORK_PURPOSE_INSECURE_NBD : NETWORK_PURPOSE_NBD;
    txn_each (row, t, CLASS_network) {
        if (a->add && has_purpose(rec_network(row), other))
            return err_NETWORK_INCOMPATIBLE_PURPOSES(text, enum_network_purpose.values[other]);
    }
    struct rec_network *n = txn_edit_network(t, a->network);
    if (!n)
        return err_HANDLE_INVALID("network", a->network);
    val_assign(&n->purpose,
               a->add ? val_set_with(n->purpose, text) : val_without(n->purpose, text));
    return NULL;
}

struct err *msg_network_add_purpose(struct op *op, const struct args_network_add_purpose *a,
                                    struct val **ret)
{
    return op_write(op, "network purpose", purpose_txn,
                    &(struct purpose_arg){a->self, a->value, true});
}

struct err *msg_network_remove_purpose(struct op *op, const struct args_network_remove_purpose *a,
                                       struct val **ret)
{
    return op_write(op, "network purpose", purpose_txn,
                    &(struct purpose_arg){a->self, a->value, false});
}
