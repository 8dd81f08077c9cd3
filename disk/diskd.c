/*
 * diskd.c: the program cairn-diskd: its command line, and the one-shot commands `create` and
 * `info`.
 */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "disk/create.h"
#include "disk/report.h"

enum { EXIT_USAGE = 2 };

static const char usage_text[] =
    "usage: cairn-diskd create PATH --format=vhd|vhd-fixed|raw --size=BYTES\n"
    "       cairn-diskd info PATH [--format=vhd|vhd-fixed|raw]\n"
    "       cairn-diskd --help | --version\n";

struct args {
    const char *command, *path;
    bool has_format;
    enum image_format format;
    uint64_t size;
};

static int usage(const char *complaint)
{
    if (complaint)
        (void)fprintf(stderr, "cairn-diskd: %s\n", complaint);
    (void)fputs(usage_text, stderr);
    return EXIT_USAGE;
}

static int run_create(const struct args *a)
{
    struct image_made made;
    struct image_why why = {""};
    if (!a->path || !a->has_format || a->size == 0)
        return usage("create needs a path, a format and a size");
    if (image_create(a->path, a->format, a->size, &made, &why) < 0) {
        (void)fprintf(stderr, "cairn-diskd: %s\n", why.text);
        return EXIT_FAILURE;
    }
    return report_print(report_made(&made, a->format));
}

static int run_info(const struct args *a)
{
    struct image_info info;
    struct image_why why = {""};
    if (!a->path)
        return usage("info needs a path");
    if (image_info(a->path, a->has_format ? &a->format : NULL, &info, &why) < 0) {
        (void)fprintf(stderr, "cairn-diskd: %s\n", why.text);
        return EXIT_FAILURE;
    }
    return report_print(report_info(&info));
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"format", required_argument, NULL, 'f'},
        {"size", required_argument, NULL, 's'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    struct args a = {0};
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (c == 'h') {
            (void)fputs(usage_text, stdout);
            return EXIT_SUCCESS;
        }
        if (c == 'V') {
            (void)puts("cairn-diskd " CAIRN_VERSION);
            return EXIT_SUCCESS;
        }
        if (c == 'f') {
            if (image_parse_format(optarg, &a.format) < 0)
                return usage("the format is vhd, vhd-fixed or raw");
            a.has_format = true;
        } else if (c == 's') {
            if (str_size(view_of(optarg), &a.size) < 0)
                return usage("the size is not a number of bytes");
        } else {
            return usage(NULL);
        }
    }
    if (optind < argc)
        a.command = argv[optind++];
    if (optind < argc)
        a.path = argv[optind++];
    if (optind < argc || !a.command)
        return usage(NULL);
    if (strcmp(a.command, "create") == 0)
        return run_create(&a);
    if (strcmp(a.command, "info") == 0)
        return run_info(&a);
    return usage("there is no such command");
}
