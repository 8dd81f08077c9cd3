/*
 * disk_at.c: storage on servers, as far as cairn-diskd's processes are concerned: which modules one
 * needs, and questions that are not about an image (`cairn-diskd at`).
 *
 * Called on operation threads, disk_needs also on the mon loop.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "codec/json.h"
#include "host/diskctl.h"

#define ANSWER_MAX (16U << 20)
#define PATIENCE   (60 * USEC_PER_SEC)

const char *const disk_schemes[] = {"nfs", "iscsi", "rbd", "smb", NULL};

unsigned disk_needs(const char *text)
{
    unsigned needs = 0;
    for (unsigned i = 0; text && disk_schemes[i]; i++) {
        char mark[24];
        snprintf(mark, sizeof(mark), "%s://", disk_schemes[i]);
        if (strstr(text, mark))
            needs |= 1u << i;
    }
    return needs;
}

unsigned disk_needs_of(const struct disk_set *s)
{
    unsigned needs = 0;
    for (size_t i = 0; i < s->record->n_disks; i++)
        needs |= disk_needs(s->record->disks[i].image.path);
    return needs;
}

/* It fails by saying so in its answer. */
static struct err *read_answer(const struct buf *out, int code, struct val **ret)
{
    _cleanup_(val_unrefp) struct val *answer = NULL;
    if (json_parse((struct view){out->data, out->size}, &answer) < 0 || val_kind(answer) != VAL_MAP)
        return err_internal("cairn-diskd printed no JSON object");
    if (code != 0)
        return disk_answer_error(answer);
    *ret = steal(&answer);
    return NULL;
}

struct err *disk_at(void *data, const char *verb, const char *path, const char *more,
                    struct val **ret)
{
    struct diskctl *dc = data;
    const char *argv[] = {dc->program, "at", verb, path, more, NULL};
    struct child_spec spec = {.argv = argv};
    struct child_exit how;
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, ANSWER_MAX);
    TRY(child_run(&spec, PATIENCE, &out, NULL, &how));
    return read_answer(&out, how.code, ret);
}
