/*
 * events.c: server-sent events: event.from, again and again, on one connection.
 *
 *   asked ──► event.from ──► events said ──► drained? ──► asked …
 *
 * The next question waits until the client has taken the answer to the last one, so a slow client
 * costs no memory: it is told later, and then each object once. While nothing happens the question
 * is parked in api/, without a thread. The id of a message is the token to go on from.
 */
#include <inttypes.h>
#include <string.h>

#include "base/str.h"
#include "codec/json.h"
#include "gen/error.h"
#include "rest/rest_impl.h"

#define BEAT_S    25.0 /* silence is broken after that, so that both sides see who is gone */
#define BATCH_MAX (64u << 20)
#define PIECE     65536

struct rest_stream {
    struct val *classes;
    char *token;
    bool waiting;    /* for the client to take what was said */
    struct buf said; /* what did not fit yet */
    size_t said_at;
};

static void ask(struct rest_call *c);

void rest_stream_free(struct rest_stream *s)
{
    if (!s)
        return;
    val_unref(s->classes);
    buf_done(&s->said);
    free(s->token);
    free(s);
}

/* ---- what is said ---- */

/* One message, with the token on the last of a batch; JSON has no line feeds of its own. */
static bool put_event(struct rest_show *s, const struct val *e, const char *token)
{
    const struct class_desc *cls = desc_class_by_lname(val_map_str(e, "class", ""));
    const struct rest_class *there = cls ? rest_class_by_num(cls->num) : NULL;
    const struct val *record = val_map_get(e, "snapshot");
    const char *ref = val_map_str(e, "ref", ""), *operation = val_map_str(e, "operation", "");
    if (!there)
        return false;
    if (token)
        buf_printf(s->b, "id: %s\n", token);
    buf_printf(s->b, "event: %s\ndata:", operation);
    json_begin_map(s->b);
    json_put_key(s->b, view_of("operation"));
    json_put_str(s->b, view_of(operation));
    json_put_key(s->b, view_of("collection"));
    json_put_str(s->b, view_of(there->path));
    json_put_key(s->b, view_of("ref"));
    json_put_str(s->b, view_of(ref));
    if (record) {
        json_put_key(s->b, view_of("object"));
        rest_show_record(s, cls, ref, record);
    }
    json_end_map(s->b);
    buf_puts(s->b, "\n\n");
    return true;
}

static void say(struct rest_call *c)
{
    struct rest_stream *st = c->stream;
    while (st->said_at < st->said.size && c->sink->is_drained(c->sink_arg)) {
        size_t left = st->said.size - st->said_at, n = left < PIECE ? left : PIECE;
        c->sink->more(c->sink_arg, st->said.data + st->said_at, n);
        st->said_at += n;
    }
    st->waiting = st->said_at < st->said.size || !c->sink->is_drained(c->sink_arg);
    if (st->waiting)
        return;
    buf_done(&st->said);
    st->said_at = 0;
    ask(c);
}

void rest_events_drained(struct rest_call *c)
{
    if (c->stream->waiting)
        say(c);
}

static void put_batch(struct rest_call *c, const struct val *batch)
{
    struct rest_stream *st = c->stream;
    _cleanup_(snap_unrefp) struct snap *snap = snap_get(c->rest->db);
    struct rest_show s = {.b = &st->said, .api = c->rest->api, .snap = snap};
    const struct val *events = val_map_get(batch, "events");
    const char *token = val_map_str(batch, "token", "");
    size_t n = events ? val_count(events) : 0;
    bool told = false;
    for (size_t i = 0; i < n; i++)
        told = put_event(&s, val_at(events, i), i + 1 == n ? token : NULL);
    if (!told)
        buf_printf(&st->said, ": beat\nid: %s\n\n", token);
    free(st->token);
    st->token = mem_strdup(token);
}

static char *token_now(const struct rest_call *c)
{
    _cleanup_(snap_unrefp) struct snap *s = snap_get(c->rest->db);
    struct token t = snap_token(s);
    return mem_printf("%020" PRIu64 ",%020" PRIu64, t.gen, t.vol);
}

/* Deletions are forgotten after a time: who has been away for longer has to look at everything. */
static void put_lost(struct rest_call *c)
{
    struct rest_stream *st = c->stream;
    free(st->token);
    st->token = token_now(c);
    buf_printf(&st->said, "event: lost\nid: %s\ndata: {}\n\n", st->token);
}

static void got_batch(struct rest_call *c, const struct api_answer *a)
{
    struct rest_stream *st = c->stream;
    buf_init(&st->said, BATCH_MAX);
    if (a->e && err_is(a->e, "EVENTS_LOST")) {
        put_lost(c);
    } else if (a->e) {
        _cleanup_(buf_done) struct buf b;
        buf_init(&b, 65536);
        rest_put_problem(&b, rest_status(a->e), a->e);
        c->sink->more(c->sink_arg, "event: problem\ndata: ", strlen("event: problem\ndata: "));
        c->sink->more(c->sink_arg, b.data, b.size);
        c->sink->more(c->sink_arg, "\n", 1);
        rest_end(c);
        return;
    } else {
        put_batch(c, a->value);
    }
    say(c);
}

static void ask(struct rest_call *c)
{
    struct val *params = val_set();
    val_add(params, val_ref(c->stream->classes));
    val_add_str(params, c->stream->token);
    val_add(params, val_float(BEAT_S));
    rest_ask(c, "event.from", params, got_batch);
}

/* ---- the beginning ---- */

static struct err *take_classes(struct rest_call *c, struct val *ret)
{
    _cleanup_(freep) char *text = rest_query(c, "collections");
    if (!text || !*text) {
        val_add_str(ret, "*");
        return NULL;
    }
    struct view list = view_of(text), item;
    for (bool more = true; more;) {
        more = view_split(&list, ',', &item);
        const struct rest_class *cls = rest_class_by_path(view_trim(item));
        _cleanup_(freep) char *name = view_dup(item);
        if (!cls)
            return err_INVALID_VALUE("collections", name);
        val_add_str(ret, desc_classes[cls->cls]->lname);
    }
    return NULL;
}

static bool is_token(const char *text)
{
    struct view rest = view_of(text), first;
    uint64_t n;
    return view_split(&rest, ',', &first) && str_u64(first, 0, UINT64_MAX, &n) == 0 &&
           str_u64(rest, 0, UINT64_MAX, &n) == 0;
}

/* From where: what the client saw last, everything there is, or now. */
static struct err *take_start(struct rest_call *c, char **ret)
{
    _cleanup_(freep) char *since =
        c->last_event_id ? mem_strdup(c->last_event_id) : rest_query(c, "since");
    if (!since || str_eq(since, "now"))
        *ret = token_now(c);
    else if (str_eq(since, "all"))
        *ret = mem_strdup("");
    else if (is_token(since))
        *ret = mem_strdup(since);
    else
        return err_INVALID_VALUE("since", "all, now or the id of an event expected");
    return NULL;
}

static void begin(struct rest_call *c)
{
    struct rest_stream *st = c->stream;
    c->sink->begin(c->sink_arg, "text/event-stream");
    buf_init(&st->said, BATCH_MAX);
    buf_printf(&st->said, "retry: 1000\nid: %s\n\n", st->token);
    say(c);
}

void rest_get_events(struct rest_call *c)
{
    struct rest_stream *st = c->stream = mem_new(struct rest_stream);
    struct api_session found = {0};
    st->classes = val_set();
    struct err *dead = api_authenticate(c->rest->api, c->session, &found);
    api_session_done(&found);
    struct err *e = dead ? NULL : take_classes(c, st->classes);
    if (!dead && !e)
        e = take_start(c, &st->token);
    if (!dead)
        rest_is_known(c);
    if (dead)
        rest_fail(c, 0, dead);
    else if (e)
        rest_fail(c, 400, e);
    else
        begin(c);
}
