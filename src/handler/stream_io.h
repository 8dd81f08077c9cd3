/* stream_io.h: a request's body as the far end of op/portable's streams. Private to src/handler. */
#pragma once

#include "handler/transfer.h"
#include "op/portable/portable.h"

/* Answers 200 when the first byte is wanted, then reads the body. */
struct portable_io transfer_upload(struct transfer *x);
