/*
 * desc.h: the shape of the data model at run time.
 *
 * The generator turns model/ into constant tables of these structs (gen/desc.c). Everything that
 * works for any class - rows, implicit messages, role checks, claims, the command line, coverage -
 * walks the tables; nothing about the API is stated a second time in C.
 *
 *     const struct class_desc *c = desc_class_by_name("VM");
 *     desc_each_field (f, c)
 *         printf("%s %s\n", f->name, desc_type_name(f->type, buf, sizeof(buf)));
 *
 * All tables are constant and may be read from any thread. Class, field and message numbers are
 * stable within one build only; they are never stored or sent.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum type_kind {
    TYPE_VOID,
    TYPE_BOOL,
    TYPE_INT, /* 64 bit, signed */
    TYPE_FLOAT,
    TYPE_STRING,
    TYPE_DATETIME, /* seconds since 1970, UTC */
    TYPE_ENUM,
    TYPE_REF,
    TYPE_SET,
    TYPE_MAP,
    TYPE_RECORD,
    TYPE_OPTION,
};

struct enum_desc {
    const char *name; /* as in the model, e.g. "vm_power_state" */
    const char *const *values;
    unsigned n_values;
};

struct type {
    enum type_kind kind;
    int cls;                     /* class number of TYPE_REF and TYPE_RECORD, else -1 */
    const struct enum_desc *enm; /* of TYPE_ENUM, else NULL */
    const struct type *key;      /* of TYPE_MAP, else NULL */
    const struct type *elem;     /* of TYPE_SET, TYPE_OPTION; value type of TYPE_MAP; else NULL */
};

/* Roles are numbered from the lowest: ROLE_READ_ONLY 0 … ROLE_POOL_ADMIN. A bitmap has bit 1<<role.
 * local-root is no role: only a superuser session has it. */
enum role {
    ROLE_READ_ONLY,
    ROLE_CLIENT_CERT,
    ROLE_VM_OPERATOR,
    ROLE_VM_ADMIN,
    ROLE_VM_POWER_ADMIN,
    ROLE_POOL_OPERATOR,
    ROLE_POOL_ADMIN,
    ROLE_N,
    ROLE_LOCAL_ROOT = ROLE_N,
    ROLE_UNCHECKED, /* the message is not role-checked */
};

enum field_qual {
    FIELD_RO,  /* written by the server; starts as its default */
    FIELD_SRO, /* given to the constructor, no setter */
    FIELD_RW,
};

enum field_flag {
    FIELD_INTERNAL = 1 << 0, /* never in records or getters */
    FIELD_VOLATILE = 1 << 1, /* kept in memory only */
    FIELD_DERIVED = 1 << 2,  /* set(ref) computed from the other side of a relation */
    FIELD_EFFECT = 1 << 3,   /* the setter has side effects: a handler, not the implicit setter */
    FIELD_SECRET = 1 << 4,   /* never logged */
    FIELD_REMOVED = 1 << 5,  /* still in records, always at its default */
    FIELD_REQUIRED = 1 << 6, /* no default: a constructor must be given it */
    FIELD_GIVEN = 1 << 7,    /* a member of the constructor's record */
};

/* A protected key of a map field; a trailing '*' makes it a prefix. */
struct key_role {
    const char *key;
    enum role role;
};

struct field_desc {
    const char *name;   /* wire name, e.g. "name_label" */
    const char *column; /* database name, e.g. "name__label" */
    const struct type *type;
    enum field_qual qual;
    unsigned flags;    /* FIELD_* */
    size_t offset;     /* of the member in the record struct */
    const char *deflt; /* canonical text of the default (see row.h), NULL: type's zero */
    enum role read_role;
    enum role write_role;
    const struct key_role *key_roles; /* ends with key NULL; NULL if none */
    int rel_class, rel_field;         /* other side of a relation, -1 if none */
    const char *doc;                  /* may be "" */
};

enum msg_kind {
    MSG_EXPLICIT,
    MSG_GETTER,
    MSG_SETTER,
    MSG_ADD, /* add_to_F, or add_F on a set */
    MSG_REMOVE,
    MSG_MAKE,   /* create */
    MSG_DELETE, /* destroy */
    MSG_GET_BY_UUID,
    MSG_GET_BY_NAME_LABEL,
    MSG_GET_RECORD,
    MSG_GET_ALL,
    MSG_GET_ALL_WHERE,
    MSG_GET_ALL_RECORDS_WHERE,
    MSG_GET_ALL_RECORDS,
};

enum msg_flag {
    MSG_ASYNC = 1 << 0,
    MSG_HIDDEN = 1 << 1,
    MSG_NO_SESSION = 1 << 2,
    MSG_POOL_INTERNAL = 1 << 3,
    MSG_REMOVED = 1 << 4,
    MSG_SECRET = 1 << 5, /* arguments are never logged */
    MSG_NO_CUROP = 1 << 6,
    MSG_CLIENT_CERT = 1 << 7,
    MSG_UNIMPLEMENTED = 1 << 8, /* declared; answers NOT_IMPLEMENTED */
    MSG_INLINE = 1 << 9,        /* the handler only reads and never waits: it may run on a loop */
    MSG_HANDLER = 1 << 10, /* has a handler in gen/msg.c (explicit ones, custom make/delete/set) */
    MSG_RAW_RESULT = 1 << 11, /* the handler's value goes out as it is, not by the declared type */
    MSG_EXTENSION = 1 << 12,  /* served by an extension script of the message's name */
    MSG_EMERGENCY = 1 << 13,  /* answered in emergency mode too */
    MSG_NOT_FORWARDED = 1 << 14, /* served by the member asked, never by the coordinator */
    MSG_NATIVE = 1 << 15,        /* answered by the API layer itself (api/native.c): no handler */
};

struct param_desc {
    const char *name;
    const struct type *type;
    size_t offset;     /* in struct args_CLASS_MESSAGE */
    const char *deflt; /* canonical text; NULL: mandatory */
};

/* What an operation claims on objects related to its own, e.g. start claims VBDs with attach. */
struct claim_desc {
    int field; /* of the message's class: ref or set(ref) */
    int op;    /* value in the other class's operation enum */
};

/* Which special objects an operation may run on. Without a flag: ordinary ones only. */
enum op_flag {
    OP_ON_TEMPLATE = 1 << 0,         /* also templates, unless they are default templates */
    OP_ON_DEFAULT_TEMPLATE = 1 << 1, /* also default templates */
    OP_TEMPLATE_ONLY = 1 << 2,       /* nothing but templates (of the two kinds above) */
    OP_ON_SNAPSHOT = 1 << 3,         /* also snapshots */
    OP_SNAPSHOT_ONLY = 1 << 4,       /* nothing but snapshots */
    OP_ON_CONTROL_DOMAIN = 1 << 5,   /* also control domains */
};

/* When an operation may run. Meaning of each member: docs/model-language.md. */
struct op_desc {
    int op;          /* value in the class's allowed_operations enum */
    uint32_t states; /* bit per value of the state field (a bool has bits 0 and 1); 0: any */
    const char *state_error; /* raised with the object's ref in another state; NULL: it depends */
    uint64_t along[2];       /* bit per operation that may already be running on the object */
    unsigned flags;          /* OP_* */
    const struct claim_desc *claims;
    unsigned n_claims;
    const char *custom; /* name of a further rule in task/claim, NULL if none */
};

struct msg_desc {
    const char *name; /* e.g. "start" */
    unsigned num;     /* index in desc_msgs and msg_handlers */
    int cls;
    enum msg_kind kind;
    unsigned flags; /* MSG_* */
    const struct type *result;
    const struct param_desc *params; /* without the session */
    unsigned n_params, n_mandatory;
    size_t args_size;
    enum role role;
    const struct key_role *key_roles;
    int field;                 /* of getters, setters, add, remove; else -1 */
    const struct op_desc *op;  /* NULL if the message is no operation */
    const char *const *errors; /* published codes, ends with NULL */
    const char *const *raises; /* further codes that it may give, ends with NULL */
    const char *plan;          /* "host", "storage", …; NULL for implicit messages */
    const char *doc;
};

enum class_flag {
    CLASS_DB = 1 << 0,      /* rows live in the database */
    CLASS_PERSIST = 1 << 1, /* and are stored; without CLASS_DB: stored, but none of the tables
                               that clients see (valid_ref_counts, implicit messages) */
    CLASS_EVENTS = 1 << 2,
    CLASS_CTOR_DTOR = 1 << 3,
    CLASS_GET_ALL = 1 << 4,
    CLASS_CUSTOM_READ = 1 << 5, /* getters are served by code, not from rows */
    CLASS_INTERNAL = 1 << 6,    /* the house's own bookkeeping, not on the wire */
    CLASS_NO_TASK = 1 << 7,     /* calls never make a task */
};

struct class_desc {
    const char *name;  /* "VM" */
    const char *lname; /* "vm": the name in events */
    int num;
    unsigned flags; /* CLASS_* */
    const struct field_desc *fields;
    unsigned n_fields;
    size_t rec_size;                    /* of struct rec_VM */
    const struct msg_desc *const *msgs; /* every message of the class, explicit and implicit */
    unsigned n_msgs;
    const struct op_desc *const *ops; /* by value of the operation enum; NULL: never allowed */
    unsigned n_ops;                   /* values of that enum; 0 if the class has no rules */
    int field_uuid, field_name_label, field_state, field_allowed, field_current; /* -1 if none */
    const char *doc;
};

struct role_desc {
    const char *name;
    const char *uuid;
    bool internal;
};

/* A permission that belongs to no message, e.g. "task.destroy/any". */
struct permission_desc {
    const char *name;
    enum role role;
};

struct alert_desc {
    const char *name;
    int priority; /* 1 (worst) … 5 */
};

extern const struct class_desc *const desc_classes[];          /* by number, sorted by name */
extern const struct class_desc *const desc_classes_by_lname[]; /* the same, sorted by lname */
extern const unsigned desc_n_classes;
extern const struct msg_desc *const desc_msgs[]; /* sorted by "class.message" */
extern const unsigned desc_n_msgs;
extern const struct role_desc desc_roles[ROLE_N]; /* by enum role */
extern const struct permission_desc desc_permissions[];
extern const unsigned desc_n_permissions;
extern const struct alert_desc desc_alerts[]; /* sorted by name; a '*' stands for any text */
extern const unsigned desc_n_alerts;

#define desc_each_field(f, c)                                                                      \
    for (const struct field_desc *f = (c)->fields; f < (c)->fields + (c)->n_fields; f++)

const struct class_desc *desc_class_by_name(const char *name);  /* exact case; NULL if none */
const struct class_desc *desc_class_by_lname(const char *name); /* any case; NULL if none */
const struct field_desc *desc_field(const struct class_desc *c, const char *name);
const struct field_desc *desc_field_by_column(const struct class_desc *c, const char *column);
/* 'name' is "class.message" or "class_message", without Async; NULL if none. */
const struct msg_desc *desc_msg(const char *name);
/* May the message give this error? Its own codes, and those that any message may give. */
bool desc_msg_raises(const struct msg_desc *m, const char *code);
int desc_enum_value(const struct enum_desc *e, const char *text); /* any case; -1 if none */
const char *desc_role_name(enum role role);    /* "local-root", "unchecked" for what is no role */
enum role desc_role_by_name(const char *name); /* ROLE_UNCHECKED if there is none */
int desc_alert_priority(const char *name);     /* 3 for a name nobody declared */
/* Writes e.g. "map(ref VM,record VM)" and returns buf. */
const char *desc_type_name(const struct type *t, char *buf, size_t size);
