/*
 * xml.h: the XML of XML-RPC, to and from values. Pure; any thread.
 *
 * Reading is by expat with document types refused (so there are no entities to expand), depth and
 * number of values bounded; the caller bounds the size. What is read:
 *
 *     <value>text</value>, <string>          VAL_STRING
 *     <int> <i4> <i8>                        VAL_INT
 *     <boolean>                              VAL_BOOL; only "1" is true
 *     <double>                               VAL_FLOAT
 *     <dateTime.iso8601>                     VAL_DATETIME
 *     <array> <struct> <nil/>                VAL_SET VAL_MAP VAL_VOID
 *
 * A number or date that cannot be read as one stays a VAL_STRING: whether that is an error knows
 * the one who knows the type. Blanks inside a string value are kept, blanks between tags ignored.
 *
 * Writing follows XenAPI: an integer is an untyped string, void an empty one.
 * Functions return 0 or -EINVAL (not what it should be) or -E2BIG (too deep, too many).
 */
#pragma once

#include "base/buf.h"
#include "base/str.h"
#include "base/val.h"

#define XML_DEPTH_MAX  64      /* values within values */
#define XML_VALUES_MAX 1000000 /* in one document */

/* A standalone <value>...</value>. */
int xml_parse_value(struct view text, struct val **ret) _must_use_;
/* A methodCall; *ret_params is a set. The method's name is the caller's to free. */
int xml_parse_call(struct view text, char **ret_method, struct val **ret_params) _must_use_;
/* The one value of a methodResponse; a fault is -EINVAL. */
int xml_parse_response(struct view text, struct val **ret) _must_use_;

/* Character data: markup escaped, CR as a reference (a reader would turn it into LF), characters
 * that XML cannot carry dropped. `text` is UTF-8. */
void xml_put_text(struct buf *b, struct view text);
/* Pieces of values; each writes whole <value> elements but for the _begin and _end ones. The next
 * thing in a map is announced by its key; maps and sets may nest. */
void xml_put_str(struct buf *b, struct view text);
void xml_put_int(struct buf *b, int64_t i);
void xml_put_i4(struct buf *b, int64_t i); /* with its type, as valid_ref_counts has them */
void xml_put_bool(struct buf *b, bool v);
void xml_put_float(struct buf *b, double d);
void xml_put_datetime(struct buf *b, int64_t seconds);
void xml_begin_set(struct buf *b);
void xml_end_set(struct buf *b);
void xml_begin_map(struct buf *b);
void xml_put_key(struct buf *b, struct view key);
void xml_end_map(struct buf *b);
