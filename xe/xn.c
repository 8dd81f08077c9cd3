/*
 * xn.c: the low-level listing: what runs on the hosts, a line each in columns, for eyes and awk.
 *
 *     xn list            VMs that have a domain: name, domid, memory in MiB, CPUs, state, uuid
 *     xn diagnostics     what the daemon of this machine does
 *     xn pci-list        PCI devices of the hosts
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

/* The values of the next record, in the order of its columns; their number. */
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

static int list(struct options *o)
{
    static const char *const words[] = {
        "vm-list", "params=uuid,name-label,power-state,memory-actual,dom-id,VCPUs-number", NULL};
    _cleanup_(freep) char *text = ask(o, words);
    struct view values[MAX_COLUMNS];
    if (!text)
        return 1;
    printf("%-40s %5s %7s %5s %-10s %s\n", "Name", "ID", "Mem", "VCPUs", "State", "UUID");
    for (struct view rest = view_of(text); next_record(&rest, values) == 6;) {
        int64_t domid, memory = 0;
        if (str_i64(values[5 - 1], 0, INT64_MAX, &domid) < 0)
            continue;
        if (str_i64(values[3], 0, INT64_MAX, &memory) < 0)
            memory = 0;
        printf("%-40.*s %5lld %7lld %5.*s %-10.*s %.*s\n", (int)values[1].size, values[1].p,
               (long long)domid, (long long)memory >> 20, (int)values[5].size, values[5].p,
               (int)values[2].size, values[2].p, (int)values[0].size, values[0].p);
    }
    return 0;
}

static int pci_list(struct options *o)
{
    static const char *const words[] = {"pci-list", "params=uuid,vendor-name,device-name,pci-id",
                                        NULL};
    _cleanup_(freep) char *text = ask(o, words);
    struct view v[MAX_COLUMNS];
    if (!text)
        return 1;
    for (struct view rest = view_of(text); next_record(&rest, v) == 4;)
        printf("%.*s %.*s %.*s\n", (int)v[3].size, v[3].p, (int)v[1].size, v[1].p, (int)v[2].size,
               v[2].p);
    return 0;
}

static int diagnostics(void)
{
    _cleanup_(freep) char *socket = control_socket();
    return control_ask(socket, "dump");
}

static int usage(FILE *to, int status)
{
    fputs("Usage: xn [-s server] [-u username -pw password] list | diagnostics | pci-list\n", to);
    return status;
}

int main(int argc, char **argv)
{
    struct options o;
    signal(SIGPIPE, SIG_IGN);
    if (options_read(argc, argv, &o) < 0)
        return 2;
    _cleanup_(freep) char *what = o.words.n ? o.words.v[0] : NULL;
    if (o.words.n)
        vec_remove(&o.words, 0);
    int status;
    if (what && strcmp(what, "list") == 0)
        status = list(&o);
    else if (what && strcmp(what, "pci-list") == 0)
        status = pci_list(&o);
    else if (what && strcmp(what, "diagnostics") == 0)
        status = diagnostics();
    else
        status = usage(o.help ? stdout : stderr, o.help ? 0 : 2);
    options_done(&o);
    return status;
}
