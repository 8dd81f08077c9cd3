/*
 * ova.h: the description of VMs that travels in front of their disks, ova.xml. Private to src/op.
 *
 * One XML-RPC value: `version`, and `objects`, each {class, id, snapshot}. References are rewritten
 * to "Ref:0", "Ref:1" …; those that lead out of the archive become null. Both sides work on values
 * in memory: a description has a ceiling (OVA_MAX).
 */
#pragma once

#include "op/world.h"

#define OVA_NAME "ova.xml"
#define OVA_MAX  (64u << 20)

/* ---- out ---- */

struct ova_out;
struct ova_out *ova_out_new(const struct snap *s);
void ova_out_free(struct ova_out *o); /* NULL is fine */
static inline void ova_out_freep(struct ova_out **o)
{
    ova_out_free(*o);
    *o = NULL;
}
struct ova_options {
    bool keep_state;        /* power state, suspend image, metrics, as they are */
    bool no_disks, no_nics; /* leave VBDs or VIFs out */
    bool with_snapshots;    /* and those of the VM; all of them stay what they are to each other */
};
/* The VM and all that belongs to it. */
void ova_out_add_vm(struct ova_out *o, const struct rec_VM *vm, const struct ova_options *opt);
/* The id of an object, NULL if it does not travel. */
const char *ova_out_id(const struct ova_out *o, const char *ref);
/* The disks whose contents belong to it: refs of VDIs, in the order of their ids as text. */
const struct val *ova_out_disks(struct ova_out *o);
struct err *ova_out_write(struct ova_out *o, struct buf *ret) _must_use_;

/* ---- in ---- */

struct ova_in {
    struct val *doc;
    const struct val *objects; /* of doc */
    struct val *by_id;         /* id -> number in objects, as text */
};
/* Takes any bytes. IMPORT_ERROR, IMPORT_INCOMPATIBLE_VERSION. */
struct err *ova_parse(struct view text, struct ova_in *ret) _must_use_;
/* The same of the value itself, which is taken over. */
struct err *ova_adopt(struct val *doc, struct ova_in *ret) _must_use_;
void ova_in_done(struct ova_in *o);

struct ova_object {
    const char *cls, *id;
    const struct val *rec; /* as it was read: numbers are strings */
};
size_t ova_count(const struct ova_in *o);
struct ova_object ova_at(const struct ova_in *o, size_t i);
/* The object of that id and class; false if there is none. */
bool ova_find(const struct ova_in *o, const char *cls, const char *id, struct ova_object *ret);
/* Members as text; "" if they are missing or no text. */
const char *ova_text(const struct val *rec, const char *name);
bool ova_bool(const struct val *rec, const char *name);
int64_t ova_int(const struct val *rec, const char *name); /* 0 */

/* Where `refs` has the reference of an object: an id that an archive uses for another class than it
 * has names nothing. The caller frees. */
char *ova_key(int cls, const char *id);
/* Sets a field of a private row from the record; references are looked up in `refs` (ova_key() ->
 * ref), unknown ones are null or left out, unknown values of an enum leave the field as it is.
 * IMPORT_ERROR naming the field. A member that is missing is left as it is. */
struct err *ova_take(struct row *row, const struct field_desc *f, const struct val *rec,
                     const struct val *refs) _must_use_;
