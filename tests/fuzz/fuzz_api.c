/*
 * A call from its body to its answer: decoding by descriptors, roles, implicit messages, events.
 * The input is a JSON-RPC or XML-RPC body in which @S stands for a live session and @V for a VM.
 * Handlers do nothing here; what they do with their arguments has its own tests.
 */
#include "tests/fuzz/api_world.h"
#include "tests/fuzz/fuzz.h"

#define BODY_MAX (64 << 10)

static void on_answer(void *arg, unsigned status, const char *content_type, struct buf *body)
{
    *(bool *)arg = true;
}

static void send_body(struct api_world *w, enum rpc_format format, struct view body)
{
    bool answered = false;
    struct api_request rq = {
        .loop = w->loop, .format = format, .peer = {.address = "192.0.2.1"}, .body = body};
    struct api_rpc *call = api_rpc(w->api, &rq, on_answer, &answered);
    api_world_step(w);
    if (!answered)
        api_rpc_drop(call);
    api_world_step(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct api_world *w = api_world();
    _cleanup_(buf_done) struct buf body;
    buf_init(&body, BODY_MAX);
    api_world_fill_in(w, data, size, w->vm, &body);
    send_body(w, size && data[0] == '<' ? RPC_XML : RPC_JSON,
              (struct view){buf_str(&body), body.size});
    api_world_next(w);
    return 0;
}
