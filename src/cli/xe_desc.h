/*
 * xe_desc.h: the shape of the xe command tables.
 *
 * The generator turns model/xe.table into constant tables of these structs (gen/xe.c): which
 * commands exist and what they take, which families have the generic verbs (<class>-list,
 * -param-get …), and which columns a record shows. The interpreters in src/cli walk them. Any
 * thread.
 *
 * Source of a column, as a path from the object:
 *     name_label              a field; an unset one prints the empty text
 *     metrics.memory_actual   through a reference; a null one on the way: "<not in database>"
 *     @VM.get_possible_hosts  result of a message called with the object
 *     @@SR.get_supported_types  result of a message called without it
 *     ?VM:vif_{device}_rx:1024  data source of the object named by the field before the colon (the
 *                             object itself if empty), divided
 *     =driver.active_variant  whether the reference at that path is the object itself
 *     ~resolution             computed by the function of that name in src/cli/computed.c
 *
 * Call of a command: "VBD.insert VBD:uuid VDI:vdi-uuid" names a message and, for each of its
 * arguments, the parameter that it comes from (grammar: src/cli/call.h). NULL: code in src/cli.
 */
#pragma once

#include <stdbool.h>
#include <string.h>

enum xe_flag {
    XE_STANDARD = 1 << 0, /* listed by plain `xe help` */
    XE_HIDDEN = 1 << 1,
    XE_VM_SELECTORS = 1 << 2, /* vm=, any field of a VM, --multiple */
    XE_HOST_SELECTORS = 1 << 3,
    XE_SR_SELECTORS = 1 << 4,
    XE_NEVER_FORWARD = 1 << 5, /* runs on the host contacted, not on the coordinator */
    XE_DEPRECATED = 1 << 6,
    XE_WITH_FD = 1 << 7,       /* talks to the client: files, prompts, progress */
    XE_LOCAL_SESSION = 1 << 8, /* works without the database */
    XE_TEMPLATES = 1 << 9,     /* vm= may mean a template */
    XE_CONTROL_DOMAIN = 1 << 10,
};

struct xe_command {
    const char *name;
    const char *const *required; /* end with NULL, like every list here */
    const char *const *optional;
    unsigned flags; /* XE_* */
    const char *call;
};

enum xe_rw { XE_RO, XE_RW, XE_SRO, XE_SRW, XE_MRO, XE_MRW };

enum xe_format {
    XE_TEXT,     /* as it is; numbers decimal, booleans true/false */
    XE_UUID,     /* references by their object's uuid */
    XE_NAME,     /* references by their object's name label */
    XE_DATE,     /* 20250319T04:16:24Z */
    XE_F3,       /* %.3f */
    XE_LOWER,    /* first letter in lower case */
    XE_SUCCEEDS, /* true, or the error of the message */
};

/* An enum value that is shown under another name. */
struct xe_shown {
    const char *value, *shown;
};

struct xe_column {
    const char *name;
    enum xe_rw rw;
    const char *source;
    enum xe_format format;        /* of each item of a set, of each value of a map */
    const char *separator;        /* between items: "; " or ", " */
    const struct xe_shown *shown; /* ends with value NULL; NULL if none */
    /* Messages that write it, "VM.set_name_label"; NULL if none. set takes the new value, add and
     * remove a member or key, set_in_map key and value, set_map a whole map. */
    const char *set, *add, *remove, *set_in_map, *set_map;
    bool hidden;     /* never listed; param-get knows it */
    bool expensive;  /* -list prints "<expensive field>" */
    bool deprecated; /* the label says so */
    bool any_case;   /* selectors compare without case */
};

struct xe_record {
    const char *name;
    const char *cls;
    const struct xe_column *columns;
    unsigned n_columns;
};

enum xe_verb {
    XE_LIST = 1 << 0,
    XE_PARAM_LIST = 1 << 1,
    XE_PARAM_GET = 1 << 2,
    XE_PARAM_SET = 1 << 3,
    XE_PARAM_ADD = 1 << 4,
    XE_PARAM_REMOVE = 1 << 5,
    XE_PARAM_CLEAR = 1 << 6,
};

struct xe_family {
    const char *prefix; /* "vm": vm-list, vm-param-get, … */
    const struct xe_record *record;
    const char *const *filters;      /* "is-a-template=false" */
    const char *const *list_columns; /* shown by -list; empty: all */
    unsigned verbs;
    const char *where; /* expression for get_all_records_where */
    bool standard;     /* plain `xe help` names its -list */
};

static inline bool xe_has_word(const char *const *list, const char *word)
{
    for (; *list; list++)
        if (strcmp(*list, word) == 0)
            return true;
    return false;
}

extern const struct xe_command xe_commands[];
extern const unsigned xe_n_commands;
extern const struct xe_record xe_records[];
extern const unsigned xe_n_records;
extern const struct xe_family xe_families[];
extern const unsigned xe_n_families;
