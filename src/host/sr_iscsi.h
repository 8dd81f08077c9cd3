/*
 * sr_iscsi.h: the units of an iSCSI target, for the kinds that are made of them: one whose units
 * are disks (sr_iscsi.c), one that makes a volume group of a unit (sr_lvm_iscsi.c). Private to
 * those.
 *
 *     TRY(sr_iscsi_login(h, sr));           // CHAP's secret, for cairn-diskd
 *     TRY(sr_iscsi_units(h, sr, &answer));  // {"luns": [{"lun", "size", "id", "block", …}, …]}
 *     …
 *     sr_iscsi_logout(h, sr);
 */
#pragma once

#include "host/host_impl.h"
#include "host/sr_impl.h"

struct err *sr_iscsi_login(struct host *h, const struct sr_ref *sr) _must_use_;
void sr_iscsi_logout(struct host *h, const struct sr_ref *sr);
/* What is missing to know the target is an error with the choices: SR_BACKEND_FAILURE_95, 96. */
struct err *sr_iscsi_units(struct host *h, const struct sr_ref *sr, struct val **ret) _must_use_;
/* Of a unit, for cairn-diskd: the caller's. */
struct err *sr_iscsi_url(struct host *h, const struct sr_ref *sr, unsigned lun, char **ret)
    _must_use_;
/* Such an answer as probe tells it: the caller's. */
char *sr_iscsi_xml(const struct val *answer);
