/* lvm_text.h: LVM2's configuration syntax as a tree (lvm.conf(5)). Pure, any thread. */
#pragma once

#include "base/str.h"

enum lvm_kind { LVM_SECTION, LVM_NUMBER, LVM_STRING, LVM_LIST };

/* Of a section: its members; of a list: its items, without keys. Keys point into the text. */
struct lvm_node {
    enum lvm_kind kind;
    struct view key;
    int64_t number;
    char *string; /* without escapes */
    struct lvm_node *first, *next;
};

/* The whole text, as a section. NULL: it is none; *ret_why says why, a static string. */
struct lvm_node *lvm_text_parse(struct view text, const char **ret_why);
void lvm_text_free(struct lvm_node *n); /* NULL is fine */

/* The member of that name and kind, or NULL. */
const struct lvm_node *lvm_text_get(const struct lvm_node *section, const char *key,
                                    enum lvm_kind kind);
