/* sr_impl.h: what the kinds of storage share. Private to sr*.c. */
#pragma once

#include <stdio.h>

#include "host/sr.h"

enum sr_code {
    SR_IN_USE = 16,
    SR_NOT_EMPTY = 39,
    SR_SCAN = 40,
    SR_EXISTS = 42,
    SR_VDI_EXISTS = 43,
    SR_NO_SPACE = 44,
    SR_VDI_UNAVAILABLE = 46,
    SR_UNAVAILABLE = 47,
    SR_FS_MOUNT = 52,
    SR_FS_CREATE = 57,
    SR_GROUP_CREATE = 77,
    SR_VDI_CREATE = 78,
    SR_VDI_SIZE = 79,
    SR_VDI_DELETE = 80,
    SR_VDI_CLONE = 81,
    SR_VDI_SNAPSHOT = 82,
    SR_ISCSI_LOGIN = 68,
    SR_NFS_VERSION = 72,
    SR_NFS_MOUNT = 73,
    SR_DEVICE_MISSING = 90,
    SR_DEVICE_INVALID = 91,
    SR_LOCATION_MISSING = 94,
    SR_CHAIN_TOO_LONG = 109,
    SR_TARGET_MISSING = 95,
    SR_IQN_MISSING = 96,
    SR_SERVERPATH_MISSING = 101,
    SR_SERVER_MISSING = 102,
    SR_LUN_MISSING = 107,
    SR_NFS_TARGET = 108,
    SR_VDI_RESIZE = 110,
    SR_SMB_MOUNT = 111,
    SR_PARAMS_MISSING = 115,
    SR_SMB_CREATE = 116,
    SR_DNS = 140,
    SR_ISCSI_TARGET = 141,
    SR_ISCSI_PORT = 142,
    SR_GENERAL = 202,
    SR_ISO_NO_LOCATION = 220,
    SR_ISO_NAME = 221,
    SR_ISO_MOUNT = 222,
    SR_ISO_LOCATION = 225,
    SR_CBT_NOT_WHOLE = 459,
    SR_CBT_CHANGES = 460,
};

/* SR_BACKEND_FAILURE_<code> ["", reason, detail]. */
#define sr_error(code, reason, detail) sr_error_at(__FILE__, __LINE__, (code), (reason), (detail))
struct err *sr_error_at(const char *file, int line, int code, const char *reason,
                        const char *detail) _must_use_;
/* Turns an error of the machinery into one of storage, the first's text as the detail. */
struct err *sr_wrap(struct err *e, int code, const char *reason) _must_use_;

/* Posts FACT_SR_CHANGED when names come and go in a folder, until sr_watch_end. Again is fine. */
void sr_watch(struct host *h, const char *sr_uuid, const char *dir);
void sr_watch_end(struct host *h, const char *sr_uuid);
