/*
 * ws.c: WebSocket: the handshake, and frames to payload and back (RFC 6455, through wslay).
 *
 * wslay is driven over memory: what came is lent to it for the time of a call, what it wants to
 * send goes into a buffer. Payload is passed on as it arrives, message borders do not matter to
 * who speaks RFB or a terminal.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <wslay/wslay.h>

#include "net/net_impl.h"

struct ws {
    wslay_event_context_ptr ctx;
    struct view in;
    struct buf *out, *payload;
    bool data; /* the frame that is being received carries payload */
};

static ssize_t on_recv(wslay_event_context_ptr ctx, uint8_t *p, size_t size, int flags, void *arg)
{
    struct ws *w = arg;
    if (!w->in.size) {
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    size_t n = w->in.size < size ? w->in.size : size;
    memcpy(p, w->in.p, n);
    w->in = view_cut(w->in, n);
    return (ssize_t)n;
}

static ssize_t on_send(wslay_event_context_ptr ctx, const uint8_t *p, size_t size, int flags,
                       void *arg)
{
    struct ws *w = arg;
    buf_put(w->out, p, size);
    return (ssize_t)size;
}

static void on_frame(wslay_event_context_ptr ctx,
                     const struct wslay_event_on_frame_recv_start_arg *frame, void *arg)
{
    struct ws *w = arg;
    w->data = !wslay_is_ctrl_frame(frame->opcode);
}

static void on_payload(wslay_event_context_ptr ctx,
                       const struct wslay_event_on_frame_recv_chunk_arg *chunk, void *arg)
{
    struct ws *w = arg;
    if (w->data)
        buf_put(w->payload, chunk->data, chunk->data_length);
}

struct ws *ws_new(void)
{
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = on_recv,
        .send_callback = on_send,
        .on_frame_recv_start_callback = on_frame,
        .on_frame_recv_chunk_callback = on_payload,
    };
    struct ws *w = mem_new(struct ws);
    if (wslay_event_context_server_init(&w->ctx, &callbacks, w) != 0)
        abort(); /* no memory */
    wslay_event_config_set_no_buffering(w->ctx, 1);
    return w;
}

void ws_free(struct ws *w)
{
    if (!w)
        return;
    wslay_event_context_free(w->ctx);
    free(w);
}

int ws_feed(struct ws *w, const void *p, size_t size, struct buf *payload, struct buf *out)
{
    w->in = (struct view){p, size};
    w->payload = payload;
    w->out = out;
    if (wslay_event_recv(w->ctx) != 0 || wslay_event_send(w->ctx) != 0 || !buf_ok(payload))
        return -EPROTO;
    return wslay_event_get_close_received(w->ctx) ? -EPIPE : 0;
}

int ws_wrap(struct ws *w, const void *p, size_t size, struct buf *out)
{
    struct wslay_event_msg msg = {.opcode = WSLAY_BINARY_FRAME, .msg = p, .msg_length = size};
    w->out = out;
    if (wslay_event_get_close_sent(w->ctx))
        return 0; /* the client said goodbye; the rest is for nobody */
    if (wslay_event_queue_msg(w->ctx, &msg) != 0 || wslay_event_send(w->ctx) != 0 || !buf_ok(out))
        return -EPROTO;
    return 0;
}

void ws_put_close(struct ws *w, struct buf *out)
{
    w->out = out;
    wslay_event_queue_close(w->ctx, WSLAY_CODE_NORMAL_CLOSURE, NULL, 0);
    wslay_event_send(w->ctx);
}

/* ---- the handshake ---- */

bool net_wants_websocket(const struct net_request *req)
{
    return req->head->upgrade && http_has_token(req->head, "upgrade", "websocket");
}

/* base64(SHA-1(key + GUID)) */
static bool accept_key(struct view key, char out[32])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char text[128];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n;
    if (key.size != 24)
        return false;
    snprintf(text, sizeof(text), "%.*s%s", (int)key.size, key.p, guid);
    if (EVP_Digest(text, strlen(text), digest, &n, EVP_sha1(), NULL) != 1)
        return false;
    EVP_EncodeBlock((unsigned char *)out, digest, (int)n);
    return true;
}

int net_stream_websocket(struct net_stream *s, const struct net_request *req, const char *protocol)
{
    char accept[32];
    struct view version = http_find(req->head, "sec-websocket-version");
    if (!net_wants_websocket(req) || (!view_eq(version, "13") && !view_eq(version, "8")) ||
        !accept_key(http_find(req->head, "sec-websocket-key"), accept)) {
        net_stream_error(s, 400, "This is no WebSocket handshake that is understood here");
        return -EINVAL;
    }
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 1024);
    buf_printf(&b,
               "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
               "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n",
               accept);
    if (protocol && http_has_token(req->head, "sec-websocket-protocol", protocol))
        buf_printf(&b, "Sec-WebSocket-Protocol: %s\r\n", protocol);
    buf_puts(&b, "\r\n");
    s->websocket = true;
    return net_stream_write(s, b.data, b.size);
}
