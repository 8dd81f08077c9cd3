/*
 * Tests of src/cli: the tables against the descriptors, and commands against a small world of
 * objects that answers the messages they use.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/rstr.h"
#include "cli/cli.h"
#include "cli/cmd.h"
#include "cli/column.h"
#include "cli/sentence.h"
#include "state/desc.h"

/* ---- the tables ---- */

/* Follows a path of fields; the class that it must end in, if any, stands in the descriptors. */
static void check_path(const char *cls_name, const char *path)
{
    struct view rest = view_of(path), head;
    const struct class_desc *cls = desc_class_by_name(cls_name);
    bool more;
    do {
        more = view_split(&rest, '.', &head);
        _cleanup_(freep) char *name = view_dup(head);
        assert_non_null(cls);
        const struct field_desc *f = desc_field(cls, name);
        if (!f)
            fail_msg("%s: no field %s in %s", path, name, cls->name);
        const struct type *t = f->type->kind == TYPE_SET ? f->type->elem : f->type;
        cls = t->kind == TYPE_REF ? desc_classes[t->cls] : NULL;
    } while (more);
}

static void check_message(const char *name)
{
    if (name && !desc_msg(name))
        fail_msg("no message %s", name);
}

static void check_column(const struct xe_record *r, const struct xe_column *col)
{
    struct view source = view_of(col->source);
    switch (col->source[0]) {
    case '@':
        check_message(col->source + (col->source[1] == '@' ? 2 : 1));
        break;
    case '=':
        check_path(r->cls, col->source + 1);
        break;
    case '?':
        view_split(&source, ':', &(struct view){0});
        break;
    case '~':
        assert_non_null(computed_find(col->source + 1));
        break;
    default:
        check_path(r->cls, col->source);
    }
    check_message(col->set);
    check_message(col->add);
    check_message(col->remove);
    check_message(col->set_in_map);
    check_message(col->set_map);
}

static void columns_name_what_exists(void **state)
{
    (void)state;
    for (unsigned i = 0; i < xe_n_records; i++)
        for (unsigned n = 0; n < xe_records[i].n_columns; n++)
            check_column(&xe_records[i], &xe_records[i].columns[n]);
}

static void calls_name_messages_and_known_parameters(void **state)
{
    (void)state;
    for (unsigned i = 0; i < xe_n_commands; i++) {
        const struct xe_command *d = &xe_commands[i];
        if (!d->call)
            continue;
        _cleanup_(freep) char *message = mem_strndup(d->call, strcspn(d->call, " "));
        check_message(message);
        if (cmd_find_impl(d->name))
            fail_msg("%s has code and a call", d->name);
    }
}

/* Every hand-written command is one of the table, and the message that it is about exists. */
static void code_belongs_to_commands(void **state)
{
    (void)state;
    unsigned found = 0;
    for (unsigned i = 0; i < xe_n_commands; i++) {
        const struct cmd_impl *impl = cmd_find_impl(xe_commands[i].name);
        if (!impl)
            continue;
        found++;
        check_message(impl->needs);
        assert_true(*impl->help);
    }
    assert_true(found > 50);
}

static void sentences_are_sorted(void **state)
{
    (void)state;
    assert_non_null(sentence_of("CANNOT_CONTACT_HOST"));
    assert_non_null(sentence_of("VM_BAD_POWER_STATE"));
    assert_non_null(sentence_of("XENAPI_PLUGIN_FAILURE"));
    assert_null(sentence_of("NO_SUCH_CODE"));
}

/* ---- a small world ---- */

struct world {
    struct val *classes;       /* name -> map ref -> record */
    struct buf calls;          /* one line a call that changes something */
    const char *fail;          /* message that fails … */
    struct err *(*with)(void); /* … with this */
};

static struct val *table(struct world *w, const char *cls)
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

static struct val *add(struct world *w, const char *cls, const char *ref, const char *uuid,
                       const char *name)
{
    struct val *r = blank(cls, ref, uuid);
    if (val_map_get(r, "name_label"))
        val_put_str(r, "name_label", name);
    val_put(table(w, cls), ref, r);
    return r;
}

static struct err *handle_invalid(const char *cls, const char *ref)
{
    return err_make("HANDLE_INVALID", __FILE__, __LINE__, 2, cls, ref);
}

static struct err *find_uuid(struct world *w, const char *cls, const char *uuid, struct val **ret)
{
    const struct val *all = table(w, cls);
    for (size_t i = 0; i < val_count(all); i++)
        if (strcmp(val_map_str(val_at(all, i), "uuid", ""), uuid) == 0) {
            *ret = val_str(val_key_at(all, i));
            return NULL;
        }
    return err_make("UUID_INVALID", __FILE__, __LINE__, 2, cls, uuid);
}

static struct val *find_name(struct world *w, const char *cls, const char *name)
{
    const struct val *all = table(w, cls);
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
        else
            buf_printf(&w->calls, " {%zu}", val_count(v));
    }
    buf_putc(&w->calls, '\n');
}

static struct err *world_get(struct world *w, const char *cls, const char *verb, const char *self,
                             struct val **ret, bool *known)
{
    const struct val *record = val_map_get(table(w, cls), self);
    *known = true;
    if (strcmp(verb, "get_all_records_where") == 0)
        *ret = val_ref(table(w, cls));
    else if (strcmp(verb, "get_by_uuid") == 0)
        return find_uuid(w, cls, self, ret);
    else if (strcmp(verb, "get_by_name_label") == 0)
        *ret = find_name(w, cls, self);
    else if (strcmp(verb, "get_all") == 0) {
        *ret = val_set();
        for (size_t i = 0; i < val_count(table(w, cls)); i++)
            val_add_str(*ret, val_key_at(table(w, cls), i));
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
    note(w, message, params);
    if (strcmp(message, "VM.clone") == 0) {
        add(w, "VM", "OpaqueRef:new", "00000000-0000-0000-0000-0000000000ff", "new");
        *ret = val_str("OpaqueRef:new");
    } else if (strcmp(message, "SR.introduce") == 0) {
        *ret = val_str("OpaqueRef:sr");
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

#define UUID_DEMO  "11111111-1111-1111-1111-111111111111"
#define UUID_OTHER "22222222-2222-2222-2222-222222222222"
#define UUID_TMPL  "33333333-3333-3333-3333-333333333333"
#define UUID_SR    "44444444-4444-4444-4444-444444444444"

static int setup(void **state)
{
    struct world *w = mem_new(struct world);
    w->classes = val_map();
    buf_init(&w->calls, 1 << 20);
    struct val *demo = add(w, "VM", "OpaqueRef:demo", UUID_DEMO, "demo");
    val_put_str(demo, "power_state", "Running");
    val_put_str(demo, "affinity", "OpaqueRef:host");
    struct val *config = val_map(), *tags = val_set();
    val_put_str(config, "colour", "green");
    val_put_str(config, "size", "XL");
    val_add_str(tags, "a");
    val_add_str(tags, "b,c");
    val_put(demo, "other_config", config);
    val_put(demo, "tags", tags);
    struct val *other = add(w, "VM", "OpaqueRef:other", UUID_OTHER, "a, \\b");
    val_put_str(other, "power_state", "Halted");
    struct val *tmpl = add(w, "VM", "OpaqueRef:tmpl", UUID_TMPL, "Other install media");
    val_put_bool(tmpl, "is_a_template", true);
    add(w, "host", "OpaqueRef:host", "55555555-5555-5555-5555-555555555555", "box");
    struct val *pool = add(w, "pool", "OpaqueRef:pool", "66666666-6666-6666-6666-666666666666", "");
    add(w, "SR", "OpaqueRef:sr", UUID_SR, "Local storage");
    val_put_str(pool, "default_SR", "OpaqueRef:sr");
    val_put_str(pool, "master", "OpaqueRef:host");
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
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
    bool trusted_with_time; /* reads may wait for ever */
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
    buf_put(&((struct client *)arg)->raw, p, size);
    return 0;
}

static void client_be_patient(void *arg)
{
    ((struct client *)arg)->trusted_with_time = true;
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
        else
            buf_printf(out, "<%u>\n", m.tag);
    }
}

static bool was_patient;

static void run_as(struct world *w, bool trusted, const char *words, const char *answer,
                   struct buf *out)
{
    struct client k = {.at = 0};
    struct cli_backend backend = {w, world_call, world_login, world_logout};
    buf_init(&k.in, 4096);
    buf_init(&k.raw, 1 << 20);
    thin_put_hello(&k.in);
    if (answer) {
        thin_put(&k.in, &(struct thin_msg){.tag = THIN_CHUNK, .number = (uint32_t)strlen(answer)});
        buf_puts(&k.in, answer);
        thin_put(&k.in, &(struct thin_msg){.tag = THIN_END});
    }
    cli_serve(&backend,
              &(struct cli_conn){.peer = {trusted, ""},
                                 .body = view_of(words),
                                 .stream = {&k, client_read, client_write, client_be_patient}});
    transcript(&k, out);
    was_patient = k.trusted_with_time;
    buf_done(&k.in);
    buf_done(&k.raw);
}

/* Runs the words of one command line (one a line) and compares what the user sees. */
static void expect(struct world *w, const char *words, const char *seen)
{
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, 1 << 20);
    run_as(w, true, words, NULL, &out);
    assert_string_equal(buf_str(&out), seen);
}

static void expect_calls(struct world *w, const char *calls)
{
    assert_string_equal(buf_str(&w->calls), calls);
    buf_clear(&w->calls);
}

/* ---- listing ---- */

static void lists_have_upstreams_layout(void **state)
{
    expect(*state, "vm-list\nname-label=demo",
           "uuid ( RO)           : " UUID_DEMO "\n"
           "     name-label ( RW): demo\n"
           "    power-state ( RO): running\n"
           "\n"
           "\n"
           "[0]");
    expect(*state, "sr-list\nparams=name-label,uuid",
           "uuid ( RO)          : " UUID_SR "\n"
           "    name-label ( RW): Local storage\n"
           "\n"
           "\n"
           "[0]");
}

static void minimal_prints_first_fields_joined(void **state)
{
    expect(*state, "vm-list\n--minimal", UUID_DEMO "," UUID_OTHER "\n[0]");
    expect(*state, "vm-list\nparams=name-label\nminimal=true", "demo,a\\, \\\\b\n[0]");
    expect(*state, "vm-list\nname-label=none\n--minimal", "\n[0]");
    expect(*state, "template-list\n--minimal", UUID_TMPL "\n[0]");
}

static void filters_look_into_maps_and_sets(void **state)
{
    expect(*state, "vm-list\nother-config:colour=green\n--minimal", UUID_DEMO "\n[0]");
    expect(*state, "vm-list\nother-config-colour=green\n--minimal", UUID_DEMO "\n[0]");
    expect(*state, "vm-list\nother-config:colour=red\n--minimal", "\n[0]");
    expect(*state, "vm-list\ntags:contains=b,c\n--minimal", UUID_DEMO "\n[0]");
    expect(*state, "vm-list\npower-state=halted\n--minimal", UUID_OTHER "\n[0]");
    expect(*state, "vm-list\nno-such=1", "! Error: Unknown field 'no-such'\n[1]");
    expect(*state, "vm-list\ndatabase:vdi-uuid=1",
           "! Error: Reading another database (database:vdi-uuid) is not supported\n[1]");
}

/* ---- param-* ---- */

static void param_get_prints_values_and_keys(void **state)
{
    const char *get = "vm-param-get\nuuid=" UUID_DEMO "\n";
    _cleanup_(freep) char *map = mem_printf("%sparam-name=other-config", get);
    _cleanup_(freep) char *key = mem_printf("%sparam-name=other-config\nparam-key=size", get);
    _cleanup_(freep) char *no = mem_printf("%sparam-name=other-config\nparam-key=k", get);
    _cleanup_(freep) char *set = mem_printf("%sparam-name=tags", get);
    _cleanup_(freep) char *ref = mem_printf("%sparam-name=affinity", get);
    _cleanup_(freep) char *null = mem_printf("%sparam-name=suspend-VDI-uuid", get);
    _cleanup_(freep) char *through = mem_printf("%sparam-name=os-version", get);
    expect(*state, map, "colour: green; size: XL\n[0]");
    expect(*state, key, "XL\n[0]");
    expect(*state, no, "! Error: Key k not found in map\n[1]");
    expect(*state, set, "a, b,c\n[0]");
    expect(*state, ref, "55555555-5555-5555-5555-555555555555\n[0]");
    expect(*state, null, "<not in database>\n[0]");
    expect(*state, through, "<not in database>\n[0]");
}

static void wrong_uuids_and_missing_parameters_are_named(void **state)
{
    expect(*state, "vm-param-get\nuuid=x\nparam-name=uuid",
           "! The uuid you supplied was invalid.\n! type: VM\n! uuid: x\n[1]");
    expect(*state, "vm-param-get\nparam-name=uuid",
           "! Required parameter not found: uuid\n! For usage run: 'xe help'\n[1]");
    expect(*state, "vm-fly", "! Unknown command: vm-fly\n! For usage run: 'xe help'\n[1]");
    expect(*state, "vm-list\nloose",
           "! Syntax error: 'loose' is not of the form name=value\n"
           "! For usage run: 'xe help'\n[1]");
}

static void param_set_calls_the_setters(void **state)
{
    struct world *w = *state;
    expect(w,
           "vm-param-set\nuuid=" UUID_DEMO "\nname-label=new\nmemory-static-max=512MiB\n"
           "other-config:colour=red\nis-a-template=true\naffinity=",
           "[0]");
    expect_calls(w, "VM.set_name_label OpaqueRef:demo new\n"
                    "VM.set_memory_static_max OpaqueRef:demo 536870912\n"
                    "VM.remove_from_other_config OpaqueRef:demo colour\n"
                    "VM.add_to_other_config OpaqueRef:demo colour red\n"
                    "VM.set_is_a_template OpaqueRef:demo true\n"
                    "VM.set_affinity OpaqueRef:demo OpaqueRef:NULL\n");
    expect(w, "vm-param-set\nuuid=" UUID_DEMO "\npower-state=halted",
           "! Error: Field 'power-state' is read-only.\n[1]");
    expect(w, "vm-param-set\nuuid=" UUID_DEMO "\nVCPUs-max=many",
           "! Error: Parameter VCPUs-max must be an integer\n[1]");
    expect_calls(w, "");
}

static void param_add_remove_and_clear_change_members(void **state)
{
    struct world *w = *state;
    expect(w, "vm-param-add\nuuid=" UUID_DEMO "\nparam-name=tags\nparam-key=z", "[0]");
    expect(w, "vm-param-add\nuuid=" UUID_DEMO "\nparam-name=other-config\nk=v", "[0]");
    expect(w, "vm-param-remove\nuuid=" UUID_DEMO "\nparam-name=tags\nparam-key=a", "[0]");
    expect(w, "vm-param-clear\nuuid=" UUID_DEMO "\nparam-name=other-config", "[0]");
    expect_calls(w, "VM.add_tags OpaqueRef:demo z\n"
                    "VM.add_to_other_config OpaqueRef:demo k v\n"
                    "VM.remove_tags OpaqueRef:demo a\n"
                    "VM.remove_from_other_config OpaqueRef:demo colour\n"
                    "VM.remove_from_other_config OpaqueRef:demo size\n");
    expect(w, "vm-param-remove\nuuid=" UUID_DEMO "\nparam-name=other-config\nparam-key=none",
           "! Error: Key none is not in map\n[1]");
}

/* ---- commands ---- */

static void selectors_take_names_uuids_and_fields(void **state)
{
    struct world *w = *state;
    expect(w, "vm-pause\nvm=demo", "[0]");
    expect(w, "vm-pause\nvm=" UUID_DEMO, "[0]");
    expect(w, "vm-pause\npower-state=running", "[0]");
    expect_calls(w, "VM.pause OpaqueRef:demo\nVM.pause OpaqueRef:demo\nVM.pause OpaqueRef:demo\n");
    expect(w, "vm-pause\nvm=none", "! Error: No matching VMs found\n[1]");
    expect(w, "vm-pause",
           "! Error: Multiple matches found. --multiple required to complete the operation\n[1]");
    expect(w, "vm-pause\n--multiple", "[0]");
    expect_calls(w, "VM.pause OpaqueRef:demo\nVM.pause OpaqueRef:other\n");
    expect(w, "vm-pause\nvm=Other install media", "! Error: No matching VMs found\n[1]");
}

static void start_and_shutdown_pass_their_options(void **state)
{
    struct world *w = *state;
    expect(w, "vm-start\nvm=demo\npaused=true", "[0]");
    expect(w, "vm-start\nvm=demo\non=box", "[0]");
    expect(w, "vm-shutdown\nvm=demo", "[0]");
    expect(w, "vm-shutdown\nvm=demo\n--force", "[0]");
    expect_calls(w, "VM.start OpaqueRef:demo true false\n"
                    "VM.start_on OpaqueRef:demo OpaqueRef:host false false\n"
                    "VM.clean_shutdown OpaqueRef:demo\n"
                    "VM.hard_shutdown OpaqueRef:demo\n");
}

static struct err *bad_power_state(void)
{
    return err_make("VM_BAD_POWER_STATE", __FILE__, __LINE__, 3, "OpaqueRef:demo", "halted",
                    "running");
}

static void api_errors_become_sentences(void **state)
{
    struct world *w = *state;
    w->fail = "VM.start";
    w->with = bad_power_state;
    expect(w, "vm-start\nvm=demo",
           "! You attempted an operation on a VM that was not in an appropriate power state at "
           "the time; for example, you attempted to start a VM that was already running.\n"
           "! vm: " UUID_DEMO " (demo)\n"
           "! expected: halted\n"
           "! actual: running\n[1]");
}

static void install_prints_the_uuid_alone(void **state)
{
    struct world *w = *state;
    expect(w, "vm-install\ntemplate=Other install media\nnew-name-label=x",
           "00000000-0000-0000-0000-0000000000ff\n[0]");
    expect_calls(w, "VM.clone OpaqueRef:tmpl x\n"
                    "VM.set_name_description OpaqueRef:new Installed via xe CLI\n"
                    "VM.set_suspend_SR OpaqueRef:new OpaqueRef:NULL\n"
                    "VM.provision OpaqueRef:new\n");
    expect(w,
           "vm-install\ntemplate-uuid=" UUID_TMPL "\nnew-name-label=x\nsr-name-label=Local storage",
           "00000000-0000-0000-0000-0000000000ff\n[0]");
    expect_calls(w, "VM.clone OpaqueRef:tmpl x\n"
                    "VM.set_name_description OpaqueRef:new Installed via xe CLI\n"
                    "VM.set_suspend_SR OpaqueRef:new OpaqueRef:sr\n"
                    "VM.provision OpaqueRef:new\n");
    expect(w, "vm-install\ntemplate=demo\nnew-name-label=x", "! Error: No templates matched\n[1]");
    expect(w, "vm-install\ntemplate=demo",
           "! Required parameter not found: new-name-label\n! For usage run: 'xe help'\n[1]");
}

static void install_takes_the_vm_away_on_failure(void **state)
{
    struct world *w = *state;
    w->fail = "VM.provision";
    w->with = bad_power_state;
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, 1 << 16);
    run_as(w, true, "vm-install\ntemplate=Other install media\nnew-name-label=x", NULL, &out);
    assert_true(str_ends(buf_str(&out), "[1]"));
    assert_true(str_ends(buf_str(&w->calls), "VM.destroy OpaqueRef:new\n"));
}

static void install_without_storage_names_both_parameters(void **state)
{
    struct world *w = *state;
    struct val *tmpl = (struct val *)val_map_get(table(w, "VM"), "OpaqueRef:tmpl");
    struct val *config = val_map();
    val_put_str(config, "disks", "<provision><disk device=\"0\" sr=\"\"/></provision>");
    val_put(tmpl, "other_config", config);
    expect(w, "vm-install\ntemplate=Other install media\nnew-name-label=x",
           "00000000-0000-0000-0000-0000000000ff\n[0]");
    assert_non_null(strstr(buf_str(&w->calls),
                           "disks <provision><disk device=\"0\" sr=\"" UUID_SR "\"/></provision>"));
    val_put_str((struct val *)val_map_get(table(w, "pool"), "OpaqueRef:pool"), "default_SR",
                "OpaqueRef:NULL");
    expect(w, "vm-install\ntemplate=Other install media\nnew-name-label=x",
           "! Error: Failed to find a valid default SR for the Pool. Please provide an "
           "sr-name-label or sr-uuid parameter.\n[1]");
}

static void uninstall_tells_what_is_lost_and_asks(void **state)
{
    struct world *w = *state;
    struct val *vdi =
        add(w, "VDI", "OpaqueRef:vdi", "77777777-7777-7777-7777-777777777777", "disk");
    struct val *vbd = add(w, "VBD", "OpaqueRef:vbd", "88888888-8888-8888-8888-888888888888", "");
    struct val *owner = val_map(), *vbds = val_set();
    val_put_str(owner, "owner", "");
    val_put(vbd, "other_config", owner);
    val_put_str(vbd, "type", "Disk");
    val_put_str(vbd, "VDI", "OpaqueRef:vdi");
    val_add_str(vbds, "OpaqueRef:vbd");
    val_put((struct val *)val_map_get(table(w, "VM"), "OpaqueRef:demo"), "VBDs", vbds);
    (void)vdi;
    const char *list = "The following items are about to be destroyed\n"
                       "VM : " UUID_DEMO " (demo)\n"
                       "VDI: 77777777-7777-7777-7777-777777777777 (disk)\n";
    _cleanup_(buf_done) struct buf out;
    _cleanup_(freep) char *no = mem_printf("%sType 'yes' to continue\n<3>\n"
                                           "Aborted (you typed: 'no')\n[1]",
                                           list);
    buf_init(&out, 1 << 16);
    run_as(w, true, "vm-uninstall\nvm=demo", "no", &out);
    assert_string_equal(buf_str(&out), no);
    expect_calls(w, "");
    buf_clear(&out);
    run_as(w, true, "vm-uninstall\nvm=demo", "", &out);
    assert_non_null(
        strstr(buf_str(&out), "! Error: Nothing was typed; force=true answers yes\n[1]"));
    expect_calls(w, "");
    _cleanup_(freep) char *yes = mem_printf("%sAll objects destroyed\n[0]", list);
    expect(w, "vm-uninstall\nvm=demo\nforce=true", yes);
    expect_calls(w, "VM.hard_shutdown OpaqueRef:demo\nVM.destroy OpaqueRef:demo\n"
                    "VDI.destroy OpaqueRef:vdi\n");
}

static void strangers_need_a_password(void **state)
{
    struct world *w = *state;
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, 1 << 16);
    run_as(w, false, "vm-list\n--minimal\nusername=root\npassword=right", NULL, &out);
    assert_string_equal(buf_str(&out), UUID_DEMO "," UUID_OTHER "\n[0]");
    assert_true(was_patient);
    buf_clear(&out);
    run_as(w, false, "vm-list\nusername=root\npassword=wrong", NULL, &out);
    assert_false(was_patient);
    assert_string_equal(buf_str(&out), "! Authentication failed\n! For usage run: 'xe help'\n[1]");
    buf_clear(&out);
    run_as(w, false, "vm-list", NULL, &out);
    assert_string_equal(buf_str(&out),
                        "! Username/password must be specified\n! For usage run: 'xe help'\n[1]");
}

static void calls_of_the_table_carry_their_parameters(void **state)
{
    struct world *w = *state;
    expect(w, "sr-introduce\nuuid=u\nname-label=n\ntype=ext\nshared=true", UUID_SR "\n[0]");
    expect(w, "host-disable\nhost=box", "[0]");
    expect(w, "vm-memory-set\nvm=demo\nmemory=1GiB", "[0]");
    expect_calls(w, "SR.introduce u n  ext  true {0}\n"
                    "host.disable OpaqueRef:host\n"
                    "VM.set_memory OpaqueRef:demo 1073741824\n");
    expect(w, "vm-memory-set\nvm=demo\nmemory=much",
           "! Error: Parameter memory must be an integer\n[1]");
}

static void help_needs_no_session(void **state)
{
    struct world *w = *state;
    _cleanup_(buf_done) struct buf out;
    buf_init(&out, 1 << 20);
    run_as(w, false, "help\n--minimal", NULL, &out);
    assert_non_null(strstr(buf_str(&out), "vm-start"));
    assert_null(strstr(buf_str(&out), "vm-param-get"));
    buf_clear(&out);
    run_as(w, false, "help\nvm-start", NULL, &out);
    assert_non_null(strstr(buf_str(&out), "optional params: force, on, paused\n"));
    expect(w, "help\nvm-fly", "! Error: There is no command 'vm-fly'\n[1]");
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_name_what_exists),
        cmocka_unit_test(calls_name_messages_and_known_parameters),
        cmocka_unit_test(code_belongs_to_commands),
        cmocka_unit_test(sentences_are_sorted),
        test(lists_have_upstreams_layout),
        test(minimal_prints_first_fields_joined),
        test(filters_look_into_maps_and_sets),
        test(param_get_prints_values_and_keys),
        test(wrong_uuids_and_missing_parameters_are_named),
        test(param_set_calls_the_setters),
        test(param_add_remove_and_clear_change_members),
        test(selectors_take_names_uuids_and_fields),
        test(start_and_shutdown_pass_their_options),
        test(api_errors_become_sentences),
        test(install_prints_the_uuid_alone),
        test(install_takes_the_vm_away_on_failure),
        test(install_without_storage_names_both_parameters),
        test(uninstall_tells_what_is_lost_and_asks),
        test(strangers_need_a_password),
        test(calls_of_the_table_carry_their_parameters),
        test(help_needs_no_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
