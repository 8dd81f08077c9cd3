/* talk.c: see talk.h. Stream thread of the command; the stream belongs to the caller. */
#include "cli/talk.h"

#include <string.h>

#include "cli/args.h"

#define MAX_UPLOAD (32u << 20) /* bytes of a file that a command reads into memory */
#define RECORD     16384       /* what TLS carries in one piece */

static struct err *broken(struct talk *t)
{
    t->broken = true;
    return cli_exit();
}

static struct err *receive(struct talk *t, void *p, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = t->stream.read(t->stream.arg, (char *)p + done, size - done);
        if (n <= 0)
            return broken(t);
        done += (size_t)n;
    }
    return NULL;
}

void talk_flush(struct talk *t)
{
    if (!t->broken && t->out.size && t->stream.write(t->stream.arg, t->out.data, t->out.size) < 0)
        t->broken = true;
    buf_clear(&t->out);
}

/* One that is too large for the protocol is left out. */
static void send_msg(struct talk *t, const struct thin_msg *m)
{
    size_t before = t->out.size, size = THIN_HEAD_MAX;
    for (unsigned i = 0; i < m->n; i++)
        size += 4 + m->strings[i].size;
    if (size > THIN_MAX_BODY)
        return;
    if (before && before + size > RECORD)
        talk_flush(t);
    thin_put(&t->out, m);
    if (t->out.size >= RECORD)
        talk_flush(t);
}

struct err *talk_greet(struct talk *t)
{
    char hello[THIN_HELLO_SIZE];
    uint32_t minor;
    talk_flush(t);
    if (t->broken)
        return cli_exit();
    if (t->greeted)
        return NULL;
    TRY(receive(t, hello, sizeof(hello)));
    if (thin_get_hello(hello, &minor) < 0)
        return broken(t);
    t->greeted = true;
    return NULL;
}

static struct err *read_all(struct talk *t, void *p, size_t size)
{
    TRY(talk_greet(t));
    return receive(t, p, size);
}

/* A message of the client's whose body carries no text. */
static struct err *recv_msg(struct talk *t, struct thin_msg *ret)
{
    char head[4], body[64];
    uint32_t size;
    TRY(read_all(t, head, sizeof(head)));
    if (thin_get_size(head, &size) < 0 || size > sizeof(body))
        return broken(t);
    TRY(read_all(t, body, size));
    if (thin_get((struct view){body, size}, ret) < 0)
        return broken(t);
    return NULL;
}

void talk_open(struct talk *t, const struct cli_stream *s)
{
    *t = (struct talk){.stream = *s};
    buf_init(&t->out, RECORD + THIN_MAX_BODY);
    thin_put_hello(&t->out);
}

void talk_done(struct talk *t)
{
    buf_done(&t->out);
}

static void send_text(struct talk *t, enum thin_tag tag, const char *text)
{
    send_msg(t, &(struct thin_msg){.tag = tag, .n = 1, .strings = {view_of(text)}});
}

void talk_print(struct talk *t, const char *text)
{
    send_text(t, THIN_PRINT, text);
}

void talk_stderr(struct talk *t, const char *text)
{
    send_text(t, THIN_PRINT_STDERR, text);
}

void talk_debug(struct talk *t, const char *text)
{
    send_text(t, THIN_DEBUG, text);
}

void talk_error(struct talk *t, const struct err *e)
{
    struct thin_msg m = {.tag = THIN_ERROR, .n = 1, .strings = {view_of(err_code(e))}};
    for (unsigned i = 0; i < err_n_params(e) && m.n < THIN_STRINGS; i++)
        m.strings[m.n++] = view_of(err_param(e, i));
    send_msg(t, &m);
}

void talk_exit(struct talk *t, unsigned status)
{
    send_msg(t, &(struct thin_msg){.tag = THIN_EXIT, .number = status});
    talk_flush(t);
}

/* Chunks until the end; `max` bytes in all. */
static struct err *recv_chunks(struct talk *t, size_t max, struct buf *ret)
{
    for (;;) {
        struct thin_msg m;
        TRY(recv_msg(t, &m));
        if (m.tag == THIN_END)
            return NULL;
        if (m.tag == THIN_WAIT)
            continue;
        if (m.tag != THIN_CHUNK)
            return broken(t);
        if (m.number > max - ret->size) {
            t->broken = true;
            return cli_fail("The client sent more than %zu bytes", max);
        }
        char *room = buf_reserve(ret, m.number);
        if (!room)
            return broken(t);
        TRY(read_all(t, room, m.number));
        buf_added(ret, m.number);
    }
}

/* OK or FAILED, past heartbeats. */
static struct err *recv_verdict(struct talk *t, bool *ret_ok)
{
    struct thin_msg m;
    do {
        TRY(recv_msg(t, &m));
    } while (m.tag == THIN_WAIT);
    if (m.tag != THIN_OK && m.tag != THIN_FAILED)
        return broken(t);
    *ret_ok = m.tag == THIN_OK;
    return NULL;
}

struct err *talk_load(struct talk *t, const char *file, struct buf *ret)
{
    bool ok;
    buf_init(ret, MAX_UPLOAD);
    send_text(t, THIN_LOAD, file);
    TRY(recv_verdict(t, &ok));
    if (!ok)
        return cli_fail("Failed to read the file %s", file);
    return recv_chunks(t, MAX_UPLOAD, ret);
}

struct err *talk_prompt(struct talk *t, struct buf *ret)
{
    buf_init(ret, 64 << 10);
    send_msg(t, &(struct thin_msg){.tag = THIN_PROMPT});
    return recv_chunks(t, 32 << 10, ret);
}

struct err *talk_transfer(struct talk *t, enum thin_tag how, const char *file, const char *url,
                          bool *ret_ok)
{
    struct thin_msg m = {.tag = how};
    if (how != THIN_HTTP_CONNECT)
        m.strings[m.n++] = view_of(file);
    m.strings[m.n++] = view_of(url);
    send_msg(t, &m);
    return recv_verdict(t, ret_ok);
}
