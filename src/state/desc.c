/*
 * desc.c: looking things up in the generated tables (gen/desc.c). Pure functions, any thread.
 */
#include "state/desc.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"

/* How the name "class.message" of `len` bytes compares with a row, the class being its first
 * `split` bytes; whatever separates them counts as the '.' the table is sorted by. */
static int compare_msg(const char *name, size_t split, const struct msg_desc *m)
{
    const char *cls = desc_classes[m->cls]->name;
    size_t cls_len = strlen(cls);
    int d = memcmp(name, cls, split < cls_len ? split : cls_len);

    if (d != 0)
        return d;
    if (split != cls_len)
        return split < cls_len ? '.' - cls[split] : name[cls_len] - '.';
    return strcmp(name + split + 1, m->name);
}

static const struct msg_desc *find_msg(const char *name, size_t split)
{
    unsigned low = 0, high = desc_n_msgs;

    while (low < high) {
        unsigned mid = low + (high - low) / 2;
        int d = compare_msg(name, split, desc_msgs[mid]);

        if (d == 0)
            return desc_msgs[mid];
        if (d < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

const struct class_desc *desc_class_by_name(const char *name)
{
    unsigned low = 0, high = desc_n_classes;

    while (low < high) {
        unsigned mid = low + (high - low) / 2;
        int d = strcmp(name, desc_classes[mid]->name);

        if (d == 0)
            return desc_classes[mid];
        if (d < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

const struct class_desc *desc_class_by_lname(const char *name)
{
    unsigned low = 0, high = desc_n_classes;

    while (low < high) {
        unsigned mid = low + (high - low) / 2;
        int d = strcasecmp(name, desc_classes_by_lname[mid]->lname);

        if (d == 0)
            return desc_classes_by_lname[mid];
        if (d < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

const struct field_desc *desc_field(const struct class_desc *c, const char *name)
{
    desc_each_field (f, c)
        if (strcmp(f->name, name) == 0)
            return f;
    return NULL;
}

const struct field_desc *desc_field_by_column(const struct class_desc *c, const char *column)
{
    desc_each_field (f, c)
        if (strcmp(f->column, column) == 0)
            return f;
    return NULL;
}

const struct msg_desc *desc_msg(const char *name)
{
    const char *dot = strchr(name, '.');

    if (dot)
        return find_msg(name, (size_t)(dot - name));
    /* class_message: both parts may hold underscores themselves */
    for (const char *s = strchr(name, '_'); s; s = strchr(s + 1, '_')) {
        const struct msg_desc *m = find_msg(name, (size_t)(s - name));

        if (m)
            return m;
    }
    return NULL;
}

int desc_enum_value(const struct enum_desc *e, const char *text)
{
    for (unsigned i = 0; i < e->n_values; i++)
        if (strcasecmp(e->values[i], text) == 0)
            return (int)i;
    return -1;
}

const char *desc_role_name(enum role role)
{
    if (role < ROLE_N)
        return desc_roles[role].name;
    return role == ROLE_LOCAL_ROOT ? "local-root" : "unchecked";
}

enum role desc_role_by_name(const char *name)
{
    for (unsigned i = 0; i < ROLE_N; i++)
        if (strcmp(desc_roles[i].name, name) == 0)
            return (enum role)i;
    return ROLE_UNCHECKED;
}

/* Whether `name` fits `pattern`, in which one '*' may stand for any text. */
static bool alert_fits(const char *pattern, const char *name)
{
    const char *star = strchr(pattern, '*');
    size_t head, tail, len = strlen(name);

    if (!star)
        return strcmp(pattern, name) == 0;
    head = (size_t)(star - pattern);
    tail = strlen(star + 1);
    return len >= head + tail && memcmp(name, pattern, head) == 0 &&
           strcmp(name + len - tail, star + 1) == 0;
}

int desc_alert_priority(const char *name)
{
    for (unsigned i = 0; i < desc_n_alerts; i++)
        if (alert_fits(desc_alerts[i].name, name))
            return desc_alerts[i].priority;
    return 3;
}

const char *desc_type_name(const struct type *t, char *buf, size_t size)
{
    static const char *const simple[] = {
        [TYPE_VOID] = "void",   [TYPE_BOOL] = "bool",     [TYPE_INT] = "int",
        [TYPE_FLOAT] = "float", [TYPE_STRING] = "string", [TYPE_DATETIME] = "datetime",
        [TYPE_ENUM] = "enum",   [TYPE_REF] = "ref",       [TYPE_SET] = "set",
        [TYPE_MAP] = "map",     [TYPE_RECORD] = "record", [TYPE_OPTION] = "option",
    };
    char key[128], elem[128];

    switch (t->kind) {
    case TYPE_ENUM:
        snprintf(buf, size, "enum %s", t->enm->name);
        break;
    case TYPE_REF:
    case TYPE_RECORD:
        snprintf(buf, size, "%s %s", simple[t->kind],
                 t->cls >= 0 ? desc_classes[t->cls]->name : "any");
        break;
    case TYPE_MAP:
        snprintf(buf, size, "map(%s,%s)", desc_type_name(t->key, key, sizeof(key)),
                 desc_type_name(t->elem, elem, sizeof(elem)));
        break;
    case TYPE_SET:
    case TYPE_OPTION:
        snprintf(buf, size, "%s(%s)", simple[t->kind], desc_type_name(t->elem, elem, sizeof(elem)));
        break;
    default:
        snprintf(buf, size, "%s", simple[t->kind]);
    }
    return buf;
}

/* ---- errors ---- */

/* What any message may give besides what is said of it: about the call, its session, its objects,
 * its task, the house. */
static const char *const common_errors[] = {
    "Fault",
    "FIELD_TYPE_ERROR",
    "HANDLE_INVALID",
    "INTERNAL_ERROR",
    "INVALID_VALUE",
    "MAP_DUPLICATE_KEY",
    "MESSAGE_METHOD_UNKNOWN",
    "MESSAGE_PARAMETER_COUNT_MISMATCH",
    "MESSAGE_REMOVED",
    "NOT_IMPLEMENTED",
    "OPERATION_NOT_ALLOWED",
    "OTHER_OPERATION_IN_PROGRESS",
    "RBAC_PERMISSION_DENIED",
    "SESSION_INVALID",
    "TASK_CANCELLED",
    "TOO_MANY_PENDING_TASKS",
    "UUID_INVALID",
};

/* What the rules of operations give, whichever message begins one. */
static const char *const operation_errors[] = {
    "OPERATION_BLOCKED",
    "SR_HAS_NO_PBDS",
    "SR_HAS_PBD",
    "SR_NOT_ATTACHED",
    "VBD_IS_EMPTY",
    "VBD_NOT_EMPTY",
    "SR_OPERATION_NOT_SUPPORTED",
    "VBD_NOT_UNPLUGGABLE",
    "VDI_IN_USE",
    "VBD_NOT_REMOVABLE_MEDIA",
    "VDI_MISSING",
    "VDI_NOT_MANAGED",
    "VDI_READONLY",
    "VM_BAD_POWER_STATE",
    "VM_IS_SNAPSHOT",
    "VM_IS_TEMPLATE",
    "VM_LACKS_FEATURE",
};

static bool is_among(const char *const *codes, size_t n, const char *code)
{
    for (size_t i = 0; i < n && codes[i]; i++)
        if (strcmp(codes[i], code) == 0 || strcmp(codes[i], "any") == 0)
            return true;
    return false;
}

#define STORAGE_ERROR "SR_BACKEND_FAILURE_" /* and a number, of which clients know a hundred */

bool desc_msg_raises(const struct msg_desc *m, const char *code)
{
    if (m->op && m->op->state_error && strcmp(m->op->state_error, code) == 0)
        return true;
    return is_among(common_errors, ARRAY_LEN(common_errors), code) ||
           is_among(m->errors, SIZE_MAX, code) || is_among(m->raises, SIZE_MAX, code) ||
           (m->op && (is_among(operation_errors, ARRAY_LEN(operation_errors), code) ||
                      strncmp(code, STORAGE_ERROR, sizeof(STORAGE_ERROR) - 1) == 0));
}
