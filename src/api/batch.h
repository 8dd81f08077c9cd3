/*
 * batch.h: what event.from answers: as a value, or as bytes that are encoded once and given to all
 * who ask the same.
 *
 * A thousand clients that wait for the same classes are woken by the same change and have the same
 * token; the answer for the first is kept and copied to the others. A batch is named by the token
 * asked with, the snapshot, the classes and the format; whoever names single objects gets one of
 * his own. The latest few are kept, 1 MiB together.
 *
 * Any thread; one leaf mutex, not held while something is encoded. Private to api/.
 */
#pragma once

#include "api/encode.h"
#include "codec/rpc.h"
#include "state/watch.h"

struct batches;

/* The bytes of an answer; one value in its format. */
struct batch {
    atomic_uint refs;
    size_t size;
    const char *bytes;
};

/* What an answer depends on; all borrowed. */
struct batch_key {
    const struct snap *snap;
    struct token since;
    const struct watch_set *set;
    enum rpc_format format;
};

struct batches *batches_new(struct encodings *encodings);
void batches_free(struct batches *); /* NULL is fine */
/* One made before, as a new reference, or NULL. */
struct batch *batches_find(struct batches *, const struct batch_key *key);
/* Encodes one; the changes are those that watch_changes() tells for the key. NULL: too large. */
struct batch *batches_make(struct batches *, const struct batch_key *key,
                           const struct changes *changes);
void batch_unref(struct batch *b); /* NULL is fine */
/* The same as a value. */
struct val *batch_val(const struct snap *s, const struct changes *changes);
/* How many were encoded, and how often one was given again. */
void batches_dump(struct batches *, struct buf *out);

/* A token as clients see it. */
struct val *token_val(struct token t);
