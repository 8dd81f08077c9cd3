/*
 * upload.h: a file to somewhere else, by HTTP PUT (or FTP).
 *
 * Operation threads; ends within a second of a cancel.
 */
#pragma once

#include "base/err.h"
#include "base/val.h"

struct op;

/* INVALID_VALUE unless it is an absolute http, https or ftp URL. */
struct err *upload_check_url(const char *url) _must_use_;
/* All of a regular file. `options`: http_proxy names a proxy. SYSTEM_STATUS_RETRIEVAL_FAILED with
 * what the other side said. */
struct err *upload_fd(struct op *op, int fd, const char *url, const struct val *options) _must_use_;
