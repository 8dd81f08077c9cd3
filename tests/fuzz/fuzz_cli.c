/*
 * Any words as a command line, from a stranger and from a trusted peer: it ends with an exit
 * status, and a stranger's reaches no message.
 */
#include <stdlib.h>
#include <string.h>

#include "base/rstr.h"
#include "cli/cli.h"
#include "codec/thin.h"
#include "state/desc.h"
#include "tests/fuzz/fuzz.h"

struct client {
    struct buf in, out;
    size_t at;
    bool known;
    unsigned calls;
};

static ssize_t client_read(void *arg, void *p, size_t size)
{
    struct client *k = arg;
    size_t left = k->in.size - k->at;
    size = size < left ? size : left;
    memcpy(p, k->in.data + k->at, size);
    k->at += size;
    return (ssize_t)size;
}

static int client_write(void *arg, const void *p, size_t size)
{
    buf_put(&((struct client *)arg)->out, p, size);
    return 0;
}

/* The zero of a type. */
static struct val *zero(const struct type *t)
{
    switch (t->kind) {
    case TYPE_VOID:
        return NULL;
    case TYPE_BOOL:
        return val_bool(false);
    case TYPE_INT:
        return val_int(0);
    case TYPE_FLOAT:
        return val_float(0);
    case TYPE_DATETIME:
        return val_datetime(0);
    case TYPE_SET:
        return val_set();
    case TYPE_MAP:
    case TYPE_RECORD:
        return val_map();
    case TYPE_OPTION:
        return zero(t->elem);
    default:
        return val_str("");
    }
}

static struct err *call(void *arg, const char *session, const char *message,
                        const struct val *params, struct val **ret)
{
    struct client *k = arg;
    (void)params;
    if (!k->known)
        abort();
    if (++k->calls > 500) /* what waits for something would wait for ever */
        return err_make("SESSION_INVALID", __FILE__, __LINE__, 1, session);
    const struct msg_desc *m = desc_msg(message);
    if (!m || strstr(message, "get_by_uuid"))
        return err_make("UUID_INVALID", __FILE__, __LINE__, 0);
    *ret = m->flags & MSG_RAW_RESULT ? val_map() : zero(m->result);
    return NULL;
}

static struct err *login(void *arg, const struct api_peer *peer, const char *user,
                         const char *password, const char **ret_session)
{
    struct client *k = arg;
    (void)user;
    (void)password;
    if (!peer->trusted)
        return err_make("SESSION_AUTHENTICATION_FAILED", __FILE__, __LINE__, 0);
    k->known = true;
    *ret_session = rstr_new("OpaqueRef:session");
    return NULL;
}

static void logout(void *arg, const char *session)
{
    (void)arg;
    (void)session;
}

static void serve(struct view words, bool trusted)
{
    struct client k = {.at = 0};
    struct cli_backend backend = {.arg = &k, .call = call, .login = login, .logout = logout};
    buf_init(&k.in, 64);
    buf_init(&k.out, 32 << 20);
    thin_put_hello(&k.in);
    cli_serve(&backend, &(struct cli_conn){.peer = {trusted, ""},
                                           .body = words,
                                           .stream = {&k, client_read, client_write, NULL}});
    if (k.out.size < THIN_HELLO_SIZE)
        abort();
    buf_done(&k.in);
    buf_done(&k.out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct view words = {(const char *)data, size};
    /* A session in the first line is another way in; not this one. */
    if (view_starts(words, "session_id="))
        return 0;
    serve(words, false);
    serve(words, true);
    return 0;
}
