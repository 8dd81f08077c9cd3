/* stream_io.h: a request as the far end of op/portable's streams. Private to src/handler. */
#pragma once

#include "handler/transfer.h"
#include "op/portable/portable.h"

/* Answers 200 when the first byte is wanted, then reads the body. */
struct portable_io transfer_upload(struct transfer *x);

/* A body that is sent as a file; the head goes out with its first byte. */
struct download {
    struct transfer *x;
    const char *content_type;
    char *filename;
};
struct portable_io transfer_download(struct download *d);

/* The repository of `sr_id` or `sr_uuid`, an rstr; NULL if none is named. */
struct err *transfer_find_sr(const struct transfer *x, const char **ret) _must_use_;
