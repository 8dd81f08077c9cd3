/* iscsi_at.h: `cairn-diskd at` for iSCSI: targets and LUNs. Private to the module. */
#pragma once

struct json_t;

int iscsi_at(const char *verb, const char *url, const char *more, struct json_t **ret);
