/* cli_fixture.c: see cli_fixture.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cli_fixture.h"

#include <stdio.h>
#include <string.h>

#include "base/rstr.h"
#include "state/filter.h"
#include "state/row.h"

/* ---- a small world ---- */

struct val *world_table(struct world *w, const char *cls)
{
    if (!val_map_get(w->classes, cls))
        val_put(w->classes, cls, val_map());
    return (struct val *)val_map_get(w->classes, cls);
}

/* A record with every field at the zero of its type. */
static struct val *blank(const char *cls, const char *ref, const char *uuid)
{
    struct val *r = val_map();
    const struct class_desc *c = desc_class_by_name(cls);
    (void)ref;
    desc_each_field (f, c) {
        switch (f->type->kind) {
        case TYPE_BOOL:
            val_put_bool(r, f->name, false);
            break;
        case TYPE_INT:
            val_put_int(r, f->name, 0);
            break;
        case TYPE_FLOAT:
            val_put(r, f->name, val_float(0));
            break;
        case TYPE_DATETIME:
            val_put(r, f->name, val_datetime(0));
            break;
        case TYPE_SET:
            val_put(r, f->name, val_set());
            break;
        case TYPE_MAP:
            val_put(r, f->name, val_map());
            break;
        case TYPE_REF:
            val_put_str(r, f->name, "OpaqueRef:NULL");
            break;
        case TYPE_ENUM:
            val_put_str(r, f->name, f->type->enm->values[0]);
            break;
        default:
            val_put_str(r, f->name, "");
        }
    }
    val_put_str(r, "uuid", uuid);
    return r;
}

struct val *world_add(struct world *w, const char *cls, const char *ref, const char *uuid,
                      const char *name)
{
    struct val *r = blank(cls, ref, uuid);
    if (val_map_get(r, "name_label"))
        val_put_str(r, "name_label", name);
    val_put(world_table(w, cls), ref, r);
    return r;
}

static struct err *handle_invalid(const char *cls, const char *ref)
{
    return err_make("HANDLE_INVALID", __FILE__, __LINE__, 2, cls, ref);
}

static struct err *find_uuid(struct world *w, const char *cls, const char *uuid, struct val **ret)
{
    const struct val *all = world_table(w, cls);
    for (size_t i = 0; i < val_count(all); i++)
        if (strcmp(val_map_str(val_at(all, i), "uuid", ""), uuid) == 0) {
            *ret = val_str(val_key_at(all, i));
            return NULL;
        }
    return err_make("UUID_INVALID", __FILE__, __LINE__, 2, cls, uuid);
}

static struct val *find_name(struct world *w, const char *cls, const char *name)
{
    const struct val *all = world_table(w, cls);
    struct val *found = val_set();
    for (size_t i = 0; i < val_count(all); i++)
        if (strcmp(val_map_str(val_at(all, i), "name_label", ""), name) == 0)
            val_add_str(found, val_key_at(all, i));
    return found;
}

static void note(struct world *w, const char *message, const struct val *params)
{
    buf_puts(&w->calls, message);
    for (size_t i = 0; i < val_count(params); i++) {
        const struct val *v = val_at(params, i);
        if (val_kind(v) == VAL_STRING)
            buf_printf(&w->calls, " %s", val_get_str(v));
        else if (val_kind(v) == VAL_BOOL)
            buf_printf(&w->calls, " %s", val_get_bool(v) ? "true" : "false");
        else if (val_kind(v) == VAL_INT)
            buf_printf(&w->calls, " %lld", (long long)val_get_int(v));
        else if (val_kind(v) == VAL_FLOAT)
            buf_printf(&w->calls, " %g", val_get_float(v));
        else
            buf_printf(&w->calls, " {%zu}", val_count(v));
    }
    buf_putc(&w->calls, '\n');
}

static struct err *world_get(struct world *w, const char *cls, const char *verb, const char *self,
                             struct val **ret, bool *known)
{
    const struct val *record = val_map_get(world_table(w, cls), self);
    *known = true;
    if (strcmp(verb, "get_all_records_where") == 0)
        *ret = val_ref(world_table(w, cls));
    else if (strcmp(verb, "get_by_uuid") == 0)
        return find_uuid(w, cls, self, ret);
    else if (strcmp(verb, "get_by_name_label") == 0)
        *ret = find_name(w, cls, self);
    else if (strcmp(verb, "get_all") == 0) {
        *ret = val_set();
        for (size_t i = 0; i < val_count(world_table(w, cls)); i++)
            val_add_str(*ret, val_key_at(world_table(w, cls), i));
    } else if (strncmp(verb, "get_", 4) == 0 && !record)
        return handle_invalid(cls, self);
    else if (strcmp(verb, "get_record") == 0)
        *ret = val_ref(record);
    else if (strncmp(verb, "get_", 4) == 0 && val_map_get(record, verb + 4))
        *ret = val_ref(val_map_get(record, verb + 4));
    else
        *known = false;
    return NULL;
}

/* The next state of the one task: progress, or what it ended with. */
static void next_task_state(struct world *w)
{
    struct val *task = (struct val *)val_map_get(world_table(w, "task"), "OpaqueRef:task");
    struct view word;
    double progress;
    if (!task || !w->task_states.size)
        return;
    view_split(&w->task_states, ' ', &word);
    _cleanup_(freep) char *text = view_dup(word);
    if (str_double(word, &progress) == 0) {
        val_put(task, "progress", val_float(progress));
    } else if (str_starts(text, "<")) {
        val_put_str(task, "status", "success");
        val_put_str(task, "result", text);
    } else {
        struct val *info = val_set();
        val_add_str(info, text);
        val_put_str(task, "status", "failure");
        val_put(task, "error_info", info);
    }
}

/* Tasks and their events. */
static bool world_task(struct world *w, const char *message, struct val **ret)
{
    if (str_starts(message, "Async.") || strcmp(message, "task.create") == 0) {
        world_add(w, "task", "OpaqueRef:task", "99999999-9999-9999-9999-999999999999", "task");
        *ret = val_str("OpaqueRef:task");
        return strcmp(message, "task.create") == 0;
    }
    if (strcmp(message, "event.from") != 0)
        return false;
    next_task_state(w);
    if (w->on_event)
        w->on_event(w);
    *ret = val_map();
    val_put_str(*ret, "token", "1");
    return true;
}

static struct err *world_call(void *arg, const char *session, const char *message,
                              const struct val *params, struct val **ret)
{
    struct world *w = arg;
    struct view verb = view_of(message), cls_view;
    const char *self =
        val_count(params) && val_kind(val_at(params, 0)) == VAL_STRING ? val_str_at(params, 0) : "";
    bool known;
    assert_string_equal(session, "OpaqueRef:session");
    view_split(&verb, '.', &cls_view);
    _cleanup_(freep) char *cls = view_dup(cls_view);
    if (w->fail && strcmp(message, w->fail) == 0)
        return w->with();
    TRY(world_get(w, cls, verb.p, self, ret, &known));
    if (known)
        return NULL;
    if (world_task(w, message, ret))
        return NULL;
    note(w, message, params);
    if (strcmp(message, "VM.clone") == 0) {
        world_add(w, "VM", "OpaqueRef:new", "00000000-0000-0000-0000-0000000000ff", "new");
        *ret = val_str("OpaqueRef:new");
    } else if (strcmp(message, "SR.introduce") == 0) {
        *ret = val_str("OpaqueRef:sr");
    }
    return NULL;
}

static struct row *make_row(const char *cls, const char *ref, const struct val *record)
{
    struct row *r = row_new(desc_class_by_name(cls), rstr_new(ref));
    desc_each_field (f, r->cls)
        if (val_map_get(record, f->name))
            assert_int_equal(row_set(r, f, val_map_get(record, f->name)), 0);
    return r;
}

static struct err *world_rows(void *arg, const char *session, const char *message,
                              const struct val *params, struct api_rows *ret)
{
    struct world *w = arg;
    struct view verb = view_of(message), cls_view;
    _cleanup_(val_unrefp) struct val *all = NULL;
    TRY(world_call(arg, session, message, params, &all));
    view_split(&verb, '.', &cls_view);
    _cleanup_(freep) char *cls = view_dup(cls_view);
    _cleanup_(filter_freep) struct filter *where = NULL;
    TRY(filter_parse(desc_class_by_name(cls), val_str_at(params, 0), &where));
    ret->v = mem_new_n(const struct row *, val_count(all) + 1);
    for (size_t i = 0; i < val_count(all); i++) {
        struct row *r = make_row(cls, val_key_at(all, i), val_at(all, i));
        vec_push(&w->rows, r);
        if (filter_match(where, r))
            ret->v[ret->n++] = r;
    }
    return NULL;
}

static struct err *world_login(void *arg, const struct api_peer *peer, const char *user,
                               const char *password, const char **ret_session)
{
    (void)arg;
    if (!peer->trusted && (strcmp(user, "root") != 0 || strcmp(password, "right") != 0))
        return err_make("SESSION_AUTHENTICATION_FAILED", __FILE__, __LINE__, 2, user, "wrong");
    *ret_session = rstr_new("OpaqueRef:session");
    return NULL;
}

static void world_logout(void *arg, const char *session)
{
    (void)arg;
    assert_string_equal(session, "OpaqueRef:session");
}

int world_setup(void **state)
{
    struct world *w = mem_new(struct world);
    w->classes = val_map();
    buf_init(&w->calls, 1 << 20);
    struct val *demo = world_add(w, "VM", "OpaqueRef:demo", UUID_DEMO, "demo");
    val_put_str(demo, "power_state", "Running");
    val_put_str(demo, "affinity", "OpaqueRef:host");
    struct val *config = val_map(), *tags = val_set();
    val_put_str(config, "colour", "green");
    val_put_str(config, "size", "XL");
    val_add_str(tags, "a");
    val_add_str(tags, "b,c");
    val_put(demo, "other_config", config);
    val_put(demo, "tags", tags);
    struct val *other = world_add(w, "VM", "OpaqueRef:other", UUID_OTHER, "a, \\b");
    val_put_str(other, "power_state", "Halted");
    struct val *tmpl = world_add(w, "VM", "OpaqueRef:tmpl", UUID_TMPL, "Other install media");
    val_put_bool(tmpl, "is_a_template", true);
    world_add(w, "host", "OpaqueRef:host", "55555555-5555-5555-5555-555555555555", "box");
    struct val *pool =
        world_add(w, "pool", "OpaqueRef:pool", "66666666-6666-6666-6666-666666666666", "");
    world_add(w, "SR", "OpaqueRef:sr", UUID_SR, "Local storage");
    val_put_str(pool, "default_SR", "OpaqueRef:sr");
    val_put_str(pool, "master", "OpaqueRef:host");
    *state = w;
    return 0;
}

int world_teardown(void **state)
{
    struct world *w = *state;
    vec_each (r, &w->rows)
        row_unref(*r);
    vec_done(&w->rows);
    val_unref(w->classes);
    buf_done(&w->calls);
    free(w);
    return 0;
}

/* ---- a client ---- */

struct client {
    struct buf in; /* what the client sends */
    size_t at;
    struct buf raw;
    unsigned n_writes;
    bool trusted_with_time; /* reads may wait for ever */
};

static ssize_t client_read(void *arg, void *p, size_t size)
{
    struct client *k = arg;
    size_t left = k->in.size - k->at;
    size = size < left ? size : left;
    if (size)
        memcpy(p, k->in.data + k->at, size);
    k->at += size;
    return (ssize_t)size;
}

static int client_write(void *arg, const void *p, size_t size)
{
    struct client *k = arg;
    buf_put(&k->raw, p, size);
    k->n_writes++;
    return 0;
}

static void client_be_patient(void *arg)
{
    ((struct client *)arg)->trusted_with_time = true;
}

/* "<12 file url>" */
static void show_other(const struct thin_msg *m, struct buf *out)
{
    buf_printf(out, "<%u", m->tag);
    for (unsigned i = 0; i < m->n; i++)
        buf_printf(out, " %.*s", (int)m->strings[i].size, m->strings[i].p);
    buf_puts(out, ">\n");
}

/* What the client answers: "<ok>" and "<failed>" are verdicts, the rest goes out as a chunk. */
static void put_answer(struct buf *in, const char *answer)
{
    static const char ok[] = "<ok>", failed[] = "<failed>";
    if (str_starts(answer, ok)) {
        thin_put(in, &(struct thin_msg){.tag = THIN_OK});
        answer += strlen(ok);
    } else if (str_starts(answer, failed)) {
        thin_put(in, &(struct thin_msg){.tag = THIN_FAILED});
        return;
    }
    thin_put(in, &(struct thin_msg){.tag = THIN_CHUNK, .number = (uint32_t)strlen(answer)});
    buf_puts(in, answer);
    thin_put(in, &(struct thin_msg){.tag = THIN_END});
}

/* What the user sees: standard output as it is, standard error lines with "! ", then the status. */
static void transcript(struct client *k, struct buf *out)
{
    size_t at = THIN_HELLO_SIZE;
    assert_true(k->raw.size >= at);
    while (at < k->raw.size) {
        struct thin_msg m;
        uint32_t size;
        assert_int_equal(thin_get_size(k->raw.data + at, &size), 0);
        assert_int_equal(thin_get((struct view){k->raw.data + at + 4, size}, &m), 0);
        at += 4 + size;
        if (m.tag == THIN_EXIT)
            buf_printf(out, "[%u]", m.number);
        else if (m.tag == THIN_PRINT)
            buf_printf(out, "%.*s\n", (int)m.strings[0].size, m.strings[0].p);
        else if (m.tag == THIN_PRINT_STDERR)
            buf_printf(out, "! %.*s", (int)m.strings[0].size, m.strings[0].p);
        else if (m.tag != THIN_DEBUG)
            show_other(&m, out);
    }
}

bool was_patient;
unsigned n_writes;

static void run_client(struct world *w, bool trusted, const char *words, struct client *k,
                       struct buf *out)
{
    struct cli_backend backend = {.arg = w,
                                  .call = world_call,
                                  .rows = world_rows,
                                  .login = world_login,
                                  .logout = world_logout,
                                  .serves = w->serves};
    buf_init(&k->raw, 1 << 20);
    cli_serve(&backend,
              &(struct cli_conn){.peer = {trusted, ""},
                                 .body = view_of(words),
                                 .stream = {k, client_read, client_write, client_be_patient}});
    transcript(k, out);
    was_patient = k->trusted_with_time;
    n_writes = k->n_writes;
    buf_done(&k->in);
    buf_done(&k->raw);
}

void run_as(struct world *w, bool trusted, const char *words, const char *answer, struct buf *out)
{
    struct client k = {.at = 0};
    buf_init(&k.in, 4096);
    thin_put_hello(&k.in);
    if (answer)
        put_answer(&k.in, answer);
    run_client(w, trusted, words, &k, out);
}

void run_silent(struct world *w, const char *words, struct buf *out)
{
    struct client k = {.at = 0};
    run_client(w, true, words, &k, out);
}

/* Runs the words of one command line (one a line) and compares what the user sees. */
void expect(struct world *w, const char *words, const char *seen)
{
    expect_with(w, words, NULL, seen);
}

void expect_with(struct world *w, const char *words, const char *answer, const char *seen)
{
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, 1 << 20);
    run_as(w, true, words, answer, &out);
    assert_string_equal(buf_str(&out), seen);
}

void expect_calls(struct world *w, const char *calls)
{
    assert_string_equal(buf_str(&w->calls), calls);
    buf_clear(&w->calls);
}
