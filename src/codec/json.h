/*
 * json.h: JSON texts to and from values. Pure; any thread.
 *
 * Reading is by jansson, with bounded depth; the caller bounds the size. null is VAL_VOID, an array
 * VAL_SET, an object VAL_MAP, a number with fraction or exponent VAL_FLOAT. Strings hold no NUL.
 * An integer beyond 64 bits, which QEMU writes for "unknown", is VAL_FLOAT; the other numbers of
 * such a text are exact up to 2^53.
 *
 *     struct val *v;
 *     int r = json_parse(view_of("{\"a\":[1,2.5,null]}"), &v);
 *     json_put_val(&b, v);
 *
 * The pieces of the writer put the comma that is needed in front of themselves, by looking at the
 * last byte: the buffer is empty, or ends in a line feed, where a text begins.
 */
#pragma once

#include "base/buf.h"
#include "base/str.h"
#include "base/val.h"

#define JSON_DEPTH_MAX 64

/* 0, -EINVAL (no JSON, or not one value) or -E2BIG (too deep). */
int json_parse(struct view text, struct val **ret) _must_use_;

void json_put_val(struct buf *b, const struct val *v); /* dates as XenAPI writes them; void: null */

void json_put_str(struct buf *b, struct view text); /* `text` is UTF-8 */
void json_put_int(struct buf *b, int64_t i);
void json_put_bool(struct buf *b, bool v);
void json_put_float(struct buf *b, double d); /* what is no number as a string: "NaN" */
void json_put_datetime(struct buf *b, int64_t seconds);
void json_put_null(struct buf *b);
void json_begin_set(struct buf *b);
void json_end_set(struct buf *b);
void json_begin_map(struct buf *b);
void json_put_key(struct buf *b, struct view key);
void json_end_map(struct buf *b);
