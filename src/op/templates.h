/*
 * templates.h: guest templates as data; private to src/op.
 *
 * A file of data/templates holds sections in the manner of ini files:
 *
 *     [base-linux]                 a section in brackets is a base: others start from it
 *     memory = 1GiB
 *     disk = 10GiB
 *
 *     [Debian Bookworm 12]         its name_label
 *     from = base-linux
 *     distro = debian
 *
 * Keys: from, abstract, memory, memory_min, vcpus, disk (repeatable), firmware (bios, uefi), bus
 * (virtio, emulated), tpm, order, distro, description, max_memory, max_vcpus, reference, viridian.
 */
#pragma once

#include "base/err.h"
#include "op/world.h"

struct template
{
    char *name, *description, *firmware, *bus, *order, *distro, *reference;
    uint64_t memory_bytes, memory_min_bytes, max_memory_bytes;
    int64_t vcpus, max_vcpus;
    uint64_t disks[8];
    size_t n_disks;
    bool abstract, tpm, viridian;
};

struct templates {
    struct template *v;
    size_t n, cap;
};

/* All files *.templates of a folder, in order of their names. */
struct err *templates_read(const char *dir, struct templates *ret) _must_use_;
void templates_done(struct templates *ts);
/* One file's text; for tests too. */
struct err *templates_parse(const char *file, const char *text, struct templates *ret) _must_use_;
/* The record; on core. Refreshes the default template of that name or makes it. */
void template_put(struct txn *t, const struct template *tp);
