/*
 * bios.c: what a guest's firmware says about maker and product: VM.set_bios_strings,
 * VM.copy_bios_strings, and the strings of a VM that nobody has given any.
 *
 * Strings are given once in a VM's life: an operating system may have been activated by them. A VM
 * without strings gets the general ones when it first starts (bios_settle).
 */
#include <ctype.h>
#include <pthread.h>
#include <string.h>

#include "gen/msg.h"
#include "op/vm_ops.h"
#include "op/world.h"

#define BIOS_STRING_MAX 512

/* Keys that may be set, and what is said when nobody has set them. */
static const struct {
    const char *key, *general;
} strings[] = {
    {"bios-vendor", "Cairn"},
    {"bios-version", ""},
    {"system-manufacturer", "Cairn"},
    {"system-product-name", "Cairn VM"},
    {"system-version", ""},
    {"system-serial-number", ""},
    {"enclosure-asset-tag", ""},
    {"baseboard-manufacturer", ""},
    {"baseboard-product-name", ""},
    {"baseboard-version", ""},
    {"baseboard-serial-number", ""},
    {"baseboard-asset-tag", ""},
    {"baseboard-location-in-chassis", ""},
};

static bool is_key(const char *key)
{
    for (size_t i = 0; i < ARRAY_LEN(strings); i++) {
        if (str_eq(strings[i].key, key))
            return true;
    }
    return false;
}

static bool is_printable(const char *text)
{
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++) {
        if (!isprint((unsigned char)text[i]) || (unsigned char)text[i] > 0x7e)
            return false;
    }
    return n > 0 && n <= BIOS_STRING_MAX;
}

static struct err *check(const struct val *value)
{
    for (size_t i = 0; i < val_count(value); i++) {
        if (!is_key(val_key_at(value, i)))
            return err_INVALID_VALUE(val_key_at(value, i), "no such BIOS string");
        if (!is_printable(val_str_at(value, i)))
            return err_INVALID_VALUE(val_key_at(value, i), "1 to 512 printable ASCII characters");
    }
    return NULL;
}

static const struct val *general;
static pthread_once_t general_made = PTHREAD_ONCE_INIT;

static void make_general(void)
{
    struct val *all = val_map();
    for (size_t i = 0; i < ARRAY_LEN(strings); i++)
        val_put_str(all, strings[i].key, strings[i].general);
    general = all;
}

/* The general strings, with those of `given` in place of theirs. */
static struct val *completed(const struct val *given)
{
    struct val *all = val_map();
    for (size_t i = 0; i < ARRAY_LEN(strings); i++)
        val_put_str(all, strings[i].key, val_map_str(given, strings[i].key, strings[i].general));
    return all;
}

struct give {
    const char *vm, *host; /* host NULL: `value` */
    const struct val *value;
};

static struct err *give_txn(struct txn *t, void *arg)
{
    const struct give *g = arg;
    struct rec_VM *vm = txn_edit_VM(t, g->vm);
    const struct rec_host *host = g->host ? txn_host(t, g->host) : NULL;
    if (!vm)
        return err_HANDLE_INVALID("VM", g->vm);
    if (g->host && !host)
        return err_HANDLE_INVALID("host", g->host);
    if (val_count(vm->bios_strings) > 0)
        return err_VM_BIOS_STRINGS_ALREADY_SET();
    val_assign(&vm->bios_strings, completed(host ? host->bios_strings : g->value));
    return NULL;
}

struct err *msg_VM_set_bios_strings(struct op *op, const struct args_VM_set_bios_strings *a,
                                    struct val **ret)
{
    struct give g = {.vm = a->self, .value = a->value};
    TRY(check(a->value));
    return op_write(op, "VM.set_bios_strings", give_txn, &g);
}

struct err *msg_VM_copy_bios_strings(struct op *op, const struct args_VM_copy_bios_strings *a,
                                     struct val **ret)
{
    struct give g = {.vm = a->vm, .host = a->host};
    return op_write(op, "VM.copy_bios_strings", give_txn, &g);
}

void bios_settle(struct txn *t, const char *ref)
{
    const struct rec_VM *vm = txn_VM(t, ref);
    if (vm && val_count(vm->bios_strings) == 0) {
        pthread_once(&general_made, make_general); /* one map for the many that are given nothing */
        val_assign(&txn_edit_VM(t, ref)->bios_strings, val_ref(general));
    }
}

/* SMBIOS has no empty strings: what is empty is left out. */
void bios_to_boot(const struct rec_VM *vm, struct boot *b)
{
    struct {
        char **to;
        const char *key;
    } members[] = {
        {&b->bios_vendor, "bios-vendor"},
        {&b->bios_version, "bios-version"},
        {&b->system_manufacturer, "system-manufacturer"},
        {&b->system_product, "system-product-name"},
        {&b->system_version, "system-version"},
        {&b->system_serial, "system-serial-number"},
        {&b->chassis_asset, "enclosure-asset-tag"},
        {&b->board_manufacturer, "baseboard-manufacturer"},
        {&b->board_product, "baseboard-product-name"},
        {&b->board_version, "baseboard-version"},
        {&b->board_serial, "baseboard-serial-number"},
        {&b->board_asset, "baseboard-asset-tag"},
        {&b->board_location, "baseboard-location-in-chassis"},
    };
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        free(*members[i].to);
        *members[i].to = mem_strdup(val_map_str(vm->bios_strings, members[i].key, ""));
    }
}
