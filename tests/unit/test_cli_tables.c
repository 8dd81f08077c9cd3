/* Tests of the tables of xe: what they name exists, and calls fit the messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/column.h"
#include "cli/sentence.h"
#include "state/desc.h"

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

/* The kind of value that a word of a call gives; TYPE_STRING also stands for enums, dates and what
 * selectors give. */
static enum type_kind word_kind(struct view word)
{
    switch (*word.p) {
    case '#':
        return TYPE_INT;
    case '.':
        return TYPE_FLOAT;
    case '!':
        return TYPE_BOOL;
    case '{':
        return TYPE_MAP;
    case '[':
        return TYPE_SET;
    default:
        return word.p[word.size - 1] == '*' ? TYPE_SET : TYPE_STRING;
    }
}

static void check_word(const char *call, struct view word, const struct type *t)
{
    enum type_kind is = word_kind(word);
    bool text = t->kind == TYPE_REF || t->kind == TYPE_ENUM || t->kind == TYPE_DATETIME;
    if (t->kind != is && !(is == TYPE_STRING && text))
        fail_msg("%s: '%.*s' is not of the type declared", call, (int)word.size, word.p);
    const char *colon = memchr(word.p, ':', word.size);
    if (!colon || strchr("%#.!{[<@/", *word.p))
        return;
    const struct type *one = t->kind == TYPE_SET ? t->elem : t;
    if (one->kind != TYPE_REF ||
        !view_eq((struct view){word.p, (size_t)(colon - word.p)}, desc_classes[one->cls]->name))
        fail_msg("%s: '%.*s' is of another class", call, (int)word.size, word.p);
}

/* "@field=argument": the field is one of the record that the parameter is. */
static void check_member(const char *call, struct view word, const struct type *t)
{
    struct view field, value = view_cut(word, 1);
    view_split(&value, '=', &field);
    _cleanup_(freep) char *name = view_dup(field);
    assert_int_equal(t->kind, TYPE_RECORD);
    const struct field_desc *f = desc_field(desc_classes[t->cls], name);
    if (!f)
        fail_msg("%s: no field %s", call, name);
    check_word(call, value, f->type);
}

static void check_arguments(const char *call, const struct msg_desc *m)
{
    const char *arrow = strstr(call, " -> ");
    struct view rest = {call, arrow ? (size_t)(arrow - call) : strlen(call)}, word;
    bool in_record = false;
    unsigned n = 0;
    view_split(&rest, ' ', &word);
    while (rest.size) {
        view_split(&rest, ' ', &word);
        bool member = *word.p == '@';
        n += !(member && in_record);
        in_record = member;
        if (n > m->n_params)
            fail_msg("%s: too many arguments", call);
        if (member)
            check_member(call, word, m->params[n - 1].type);
        else
            check_word(call, word, m->params[n - 1].type);
    }
    if (n < m->n_params && !m->params[n].deflt)
        fail_msg("%s: too few arguments", call);
}

static void calls_give_messages_what_they_take(void **state)
{
    (void)state;
    for (unsigned i = 0; i < xe_n_commands; i++) {
        const struct xe_command *d = &xe_commands[i];
        if (!d->call)
            continue;
        _cleanup_(freep) char *message = call_message(d->call);
        check_message(message);
        check_arguments(d->call, desc_msg(message));
        struct view forced = {d->call, strcspn(d->call, " ")}, normal;
        if (view_split(&forced, '|', &normal)) {
            _cleanup_(freep) char *other = view_dup(forced);
            check_message(other);
            check_arguments(d->call, desc_msg(other));
        }
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_name_what_exists),
        cmocka_unit_test(calls_give_messages_what_they_take),
        cmocka_unit_test(code_belongs_to_commands),
        cmocka_unit_test(sentences_are_sorted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
