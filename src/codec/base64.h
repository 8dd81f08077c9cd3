/*
 * base64.h: base64 with padding, as JSON carries bytes (RFC 4648 §4). Pure; any thread.
 */
#pragma once

#include "base/buf.h"
#include "base/str.h"

void base64_put(struct buf *b, struct view bytes);
/* Appends the bytes; -EINVAL for text that is not base64 (nothing but the alphabet is taken). */
int base64_get(struct view text, struct buf *ret) _must_use_;
