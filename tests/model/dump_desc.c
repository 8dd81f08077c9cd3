/*
 * dump_desc: prints the compiled tables, one item a line, fields separated by tabs. test_tables.py
 * compares that with the facts of the API, so that what the program knows at run time is tested and
 * not only what the generator has read.
 */
#include <stdio.h>

#include "gen/error.h"
#include "gen/rec.h"
#include "state/desc.h"

static const char *const kinds[] = {
    [MSG_EXPLICIT] = "explicit",
    [MSG_GETTER] = "getter",
    [MSG_SETTER] = "setter",
    [MSG_ADD] = "add",
    [MSG_REMOVE] = "remove",
    [MSG_MAKE] = "make",
    [MSG_DELETE] = "delete",
    [MSG_GET_BY_UUID] = "get_by_uuid",
    [MSG_GET_BY_NAME_LABEL] = "get_by_name_label",
    [MSG_GET_RECORD] = "get_record",
    [MSG_GET_ALL] = "get_all",
    [MSG_GET_ALL_WHERE] = "get_all_where",
    [MSG_GET_ALL_RECORDS_WHERE] = "get_all_records_where",
    [MSG_GET_ALL_RECORDS] = "get_all_records",
};

static const struct {
    unsigned bit;
    const char *name;
} msg_flags[] =
    {
        {MSG_ASYNC, "async"},
        {MSG_CLIENT_CERT, "client-cert"},
        {MSG_EMERGENCY, "emergency"},
        {MSG_EXTENSION, "extension"},
        {MSG_HIDDEN, "hidden"},
        {MSG_NO_CUROP, "no-current-op"},
        {MSG_NO_SESSION, "no-session"},
        {MSG_NOT_FORWARDED, "not-forwarded"},
        {MSG_POOL_INTERNAL, "pool-internal"},
        {MSG_RAW_RESULT, "raw-result"},
        {MSG_REMOVED, "removed"},
        {MSG_SECRET, "secret"},
},
  field_flags[] = {
      {FIELD_EFFECT, "effect"},   {FIELD_GIVEN, "given"},       {FIELD_INTERNAL, "internal"},
      {FIELD_REMOVED, "removed"}, {FIELD_REQUIRED, "required"}, {FIELD_VOLATILE, "volatile"},
};

static void print_type(const struct type *t)
{
    char buf[256];

    printf("\t%s", desc_type_name(t, buf, sizeof(buf)));
}

static void print_keys(const struct key_role *k)
{
    putchar('\t');
    for (; k && k->key; k++)
        printf("%s:%s ", k->key, desc_role_name(k->role));
}

static void print_field(const struct class_desc *c, const struct field_desc *f)
{
    static const char *const quals[] = {"ro", "sro", "rw"};

    printf("field\t%s.%s\t%s\t%s", c->name, f->name, f->column, quals[f->qual]);
    print_type(f->type);
    printf("\t%s\t%s\t", desc_role_name(f->read_role),
           f->qual == FIELD_RW ? desc_role_name(f->write_role) : "");
    for (unsigned i = 0; i < sizeof(field_flags) / sizeof(*field_flags); i++)
        if (f->flags & field_flags[i].bit)
            printf("%s ", field_flags[i].name);
    print_keys(f->key_roles);
    putchar('\n');
}

static void print_msg(const struct msg_desc *m)
{
    printf("message\t%s.%s\t%s", desc_classes[m->cls]->name, m->name, kinds[m->kind]);
    print_type(m->result);
    printf("\t%s\t", desc_role_name(m->role));
    for (unsigned i = 0; i < sizeof(msg_flags) / sizeof(*msg_flags); i++)
        if (m->flags & msg_flags[i].bit)
            printf("%s ", msg_flags[i].name);
    putchar('\t');
    for (const char *const *e = m->errors; *e; e++)
        printf("%s ", *e);
    print_keys(m->key_roles);
    printf("\t%u", m->n_mandatory);
    for (unsigned i = 0; i < m->n_params; i++) {
        printf("\t%s", m->params[i].name);
        print_type(m->params[i].type);
        printf("\t%s", m->params[i].deflt ? m->params[i].deflt : "-");
    }
    putchar('\n');
}

int main(void)
{
    for (unsigned i = 0; i < desc_n_classes; i++) {
        const struct class_desc *c = desc_classes[i];

        if (c->flags & CLASS_INTERNAL)
            continue;
        printf("class\t%s\t%s\n", c->name, c->lname);
        desc_each_field (f, c)
            print_field(c, f);
        for (unsigned k = 0; k < c->n_msgs; k++)
            print_msg(c->msgs[k]);
    }
    for (unsigned i = 0; i < err_n_codes; i++) {
        printf("error\t%s", err_codes[i].name);
        for (unsigned k = 0; k < err_codes[i].n_params; k++)
            printf("\t%s", err_codes[i].params[k]);
        putchar('\n');
    }
    return 0;
}
