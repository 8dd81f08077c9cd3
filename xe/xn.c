/*
 * xn.c: the low-level listing: what runs on the hosts, a line each in columns, for eyes and awk.
 *
 *     xn list            VMs that have a domain: name, domid, memory in MiB, CPUs, state, uuid
 *     xn -v list         below each VM its drives and network interfaces
 *     xn diagnostics     what the daemon of this machine does
 *     xn pci-list UUID   PCI devices given to a VM, in the order of its other-config:pci
 *
 * It asks as xe does, with the same settings. Exit status: 0 fine, 1 failed, 2 usage.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "loop/ctl.h"
#include "xe/control.h"
#include "xe/converse.h"

#define MAX_COLUMNS 8

/* What a command of xe prints; NULL if it failed. */
static char *ask(struct options *o, const char *const *words)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    vec_each (w, &o->words)
        free(*w);
    o->words.n = 0;
    for (; out && *words; words++)
        vec_push(&o->words, mem_strdup(*words));
    int status = out ? converse_run(o, out) : 1;
    if (out)
        fclose(out);
    if (status == 0)
        return text;
    free(text);
    return NULL;
}

/* The values of the next record, in the order of its columns; their number, 0 at the end. */
static unsigned next_record(struct view *rest, struct view values[MAX_COLUMNS])
{
    unsigned n = 0;
    struct view line;
    while (rest->size) {
        view_split(rest, '\n', &line);
        if (!view_trim(line).size) {
            if (n)
                return n;
            continue;
        }
        const char *mark = memmem(line.p, line.size, "): ", 3);
        if (!mark)
            mark = memmem(line.p, line.size, ": ", 2);
        if (mark && n < MAX_COLUMNS)
            values[n++] = view_cut(line, (size_t)(strchr(mark, ' ') + 1 - line.p));
    }
    return n;
}

/* ---- list ---- */

/* The records of `text`, of `n` columns, whose first value is the VM: the others below its line. */
static void print_devices(const char *text, struct view vm, unsigned n, const char *title)
{
    struct view v[MAX_COLUMNS];
    unsigned found;
    for (struct view rest = view_of(text); (found = next_record(&rest, v)) > 0;) {
        if (found != n || v[0].size != vm.size || memcmp(v[0].p, vm.p, vm.size) != 0)
            continue;
        printf("    %s", title);
        for (unsigned i = 1; i < n; i++)
            printf(" %.*s", (int)v[i].size, v[i].p);
        printf("\n");
    }
}

/* One VM with a domain; others are left out. */
static bool print_vm(const struct view v[6])
{
    int64_t domid, memory = 0;
    if (str_i64(v[4], 0, INT64_MAX, &domid) < 0)
        return false;
    if (str_i64(v[3], 0, INT64_MAX, &memory) < 0)
        memory = 0;
    printf("%-40.*s %5lld %7lld %5.*s %-10.*s %.*s\n", (int)v[1].size, v[1].p, (long long)domid,
           (long long)memory >> 20, (int)v[5].size, v[5].p, (int)v[2].size, v[2].p, (int)v[0].size,
           v[0].p);
    return true;
}

static int list(struct options *o, bool verbose)
{
    static const char *const vms[] = {
        "vm-list", "params=uuid,name-label,power-state,memory-actual,dom-id,VCPUs-number", NULL};
    static const char *const drives[] = {"vbd-list", "currently-attached=true",
                                         "params=vm-uuid,vdi-uuid,device,mode", NULL};
    static const char *const nics[] = {"vif-list", "currently-attached=true",
                                       "params=vm-uuid,device,MAC,network-name-label", NULL};
    _cleanup_(freep) char *text = ask(o, vms), *vbds = NULL, *vifs = NULL;
    struct view v[MAX_COLUMNS];
    unsigned n;
    if (text && verbose) {
        vbds = ask(o, drives);
        vifs = ask(o, nics);
    }
    if (!text || (verbose && !(vbds && vifs)))
        return 1;
    printf("%-40s %5s %7s %5s %-10s %s\n", "Name", "ID", "Mem", "VCPUs", "State", "UUID");
    for (struct view rest = view_of(text); (n = next_record(&rest, v)) > 0;) {
        if (n != 6 || !print_vm(v) || !verbose)
            continue;
        print_devices(vbds, v[0], 4, "disk");
        print_devices(vifs, v[0], 4, "nic");
    }
    return 0;
}

/* ---- pci-list ---- */

/* "0000:44:0.0", with or without the domain, in its full width; NULL if it is none. */
static char *full_address(const char *text)
{
    unsigned domain = 0, bus, device, function;
    int end = 0;
    bool whole = sscanf(text, "%4x:%2x:%2x.%1x%n", &domain, &bus, &device, &function, &end) == 4;
    if (!whole) {
        domain = 0;
        whole = sscanf(text, "%2x:%2x.%1x%n", &bus, &device, &function, &end) == 3;
    }
    return whole && !text[end] ? mem_printf("%04x:%02x:%02x.%x", domain, bus, device, function)
                               : NULL;
}

/* One "position/address" of other-config:pci. */
static void print_pci(struct view item, unsigned position)
{
    struct view address = item, head;
    if (!view_split(&address, '/', &head))
        address = item;
    _cleanup_(freep) char *id = view_dup(view_trim(address));
    _cleanup_(freep) char *bdf = full_address(id);
    printf("%-16s %-3u %s\n", id, position, bdf ? bdf : "?");
}

/* Whether the text of a map holds the key. */
static bool has_key(const char *map, const char *key)
{
    size_t size = strlen(key);
    for (const char *at = map; (at = strstr(at, key)) != NULL; at += size)
        if (strncmp(at + size, ": ", 2) == 0 && (at == map || (at[-1] == ' ' && at[-2] == ';')))
            return true;
    return false;
}

static int pci_list(struct options *o, const char *vm)
{
    _cleanup_(freep) char *uuid = mem_printf("uuid=%s", vm);
    const char *const whole[] = {"vm-param-get", uuid, "param-name=other-config", NULL};
    const char *const key[] = {"vm-param-get", uuid, "param-name=other-config", "param-key=pci",
                               NULL};
    _cleanup_(freep) char *config = ask(o, whole), *pci = NULL;
    if (!config)
        return 1;
    if (has_key(config, "pci") && !(pci = ask(o, key)))
        return 1;
    printf("%-16s %-3s %s\n", "id", "pos", "bdf");
    struct view rest = view_trim(view_of(pci ? pci : "")), item;
    rest.size -= rest.size && rest.p[rest.size - 1] == '\n';
    for (unsigned i = 0; rest.size; i++) {
        view_split(&rest, ',', &item);
        print_pci(item, i);
    }
    return 0;
}

/* ---- running ---- */

static int diagnostics(void)
{
    _cleanup_(freep) char *socket = control_socket();
    return control_ask(socket, "dump");
}

static int usage(FILE *to, int status)
{
    fputs("Usage: xn [-s server] [-u username -pw password] [-v] list | diagnostics | pci-list "
          "UUID\n",
          to);
    return status;
}

/* -v, wherever it stands. */
static bool take_verbose(struct options *o)
{
    for (size_t i = 0; i < o->words.n; i++)
        if (strcmp(o->words.v[i], "-v") == 0) {
            free(o->words.v[i]);
            vec_remove(&o->words, i);
            return true;
        }
    return false;
}

static int run(struct options *o)
{
    bool verbose = take_verbose(o);
    _cleanup_(freep) char *what = o->words.n ? mem_strdup(o->words.v[0]) : NULL;
    _cleanup_(freep) char *vm = o->words.n > 1 ? mem_strdup(o->words.v[1]) : NULL;
    size_t n = o->words.n;
    if (n == 1 && strcmp(what, "list") == 0)
        return list(o, verbose);
    if (n == 2 && strcmp(what, "pci-list") == 0)
        return pci_list(o, vm);
    if (n == 1 && strcmp(what, "diagnostics") == 0)
        return diagnostics();
    return usage(o->help ? stdout : stderr, o->help ? 0 : 2);
}

int main(int argc, char **argv)
{
    struct options o;
    signal(SIGPIPE, SIG_IGN);
    if (options_read(argc, argv, &o) < 0)
        return 2;
    int status = run(&o);
    options_done(&o);
    return status;
}
