/*
 * provision_xml.h: other_config:disks of a template, the disks that provisioning makes.
 *
 *     <provision><disk device="0" size="8589934592" sr="" bootable="true"
 * type="system"/></provision>
 *
 * Pure; any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROVISION_DISKS_MAX 64

struct provision_disk {
    char device[8];
    uint64_t size_bytes;
    char sr[64]; /* uuid of the SR; "" for the default one */
    bool bootable;
    bool system; /* else user */
};

struct provision {
    struct provision_disk disks[PROVISION_DISKS_MAX];
    size_t n;
};

/* -EINVAL for what is no such text, -E2BIG for too many disks. "" gives none. */
int provision_parse(const char *xml, struct provision *ret);
