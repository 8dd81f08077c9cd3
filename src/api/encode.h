/*
 * encode.h: records as bytes of an answer, kept per version.
 *
 * A record never changes, so neither does its XML or JSON. The encodings of records that were asked
 * for are kept, the least recently used ones go when the budget is full; get_all_records is then
 * little more than copying. A kept encoding holds its record, so that no other can take its
 * address.
 *
 * Any thread; one leaf mutex. Private to api/.
 */
#pragma once

#include "base/buf.h"
#include "codec/rpc.h"
#include "state/row.h"

struct encodings;

struct encodings *encodings_new(size_t max_bytes);
void encodings_free(struct encodings *); /* NULL is fine */
/* Writes the record, as row_record() shows it, as one value. */
void encodings_put(struct encodings *, struct rpc_out *o, const struct row *r);
void encodings_dump(struct encodings *, struct buf *out);
