/*
 * Any line on diskd's control socket: one answer, itself one line of JSON. Verbs that touch files
 * or make sockets are left out, and what they check before is reached by the others.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "disk/control.h"
#include "tests/fuzz/fuzz.h"

#include "base/log.h"
#include "base/mem.h"

static bool touches_files(const uint8_t *data, size_t size)
{
    static const char *const verbs[] = {"create", "resize", "info", "activate"};
    json_t *j = json_loadb((const char *)data, size, 0, NULL);
    const char *op = json_string_value(json_object_get(j, "op"));
    bool touches = json_array_size(json_object_get(j, "fronts"));
    for (size_t i = 0; op && i < ARRAY_LEN(verbs); i++)
        touches |= strcmp(op, verbs[i]) == 0;
    json_decref(j);
    return touches;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ring *ring;
    if (touches_files(data, size) || ring_new(&ring) < 0)
        return 0;
    log_set_level(NULL, LOG_ERR);
    struct control *ctl = control_new(ring, NULL, NULL, -1);
    for (int i = 0; i < 2; i++) {
        _cleanup_(freep) char *answer = control_line(ctl, (const char *)data, size);
        json_t *j = answer ? json_loads(answer, JSON_REJECT_DUPLICATES, NULL) : NULL;
        if (!j || strchr(answer, '\n') != answer + strlen(answer) - 1)
            abort();
        json_decref(j);
    }
    control_free(ctl);
    ring_free(ring);
    return 0;
}
