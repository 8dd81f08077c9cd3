/*
 * disk_format.h: what the name of a disk's file says of its format, which is never guessed from
 * its content. Pure; any thread.
 *
 *     <uuid>.vhd, <uuid>.qcow2, <uuid>.raw     a file, also with ".part" behind it
 *     lv:VHD-<uuid>:…, lv:QCOW2-<uuid>:…, lv:LV-<uuid>:…    a path to a logical volume
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/val.h"

#define DISK_VHD_MAX   (2040ULL << 30)
#define DISK_QCOW2_MAX (16381ULL << 30)

/* "vhd", "qcow2", "raw"; NULL: the name says nothing. A path is fine. */
const char *disk_format_of(const char *name);
/* Likewise of a volume's own name, with whatever behind it. */
const char *disk_format_of_volume(const char *name);
/* The end of such names: ".qcow2". */
const char *disk_suffix_of(const char *format);
/* May an image of the format have a parent? */
bool disk_has_chain(const char *format);
/* The most bytes that a disk of the format has. */
uint64_t disk_size_max(const char *format);

/* The format of a new disk: what sm_config:image-format (or type, its old name) says, else the
 * first of device-config:preferred-image-formats (default "vhd,qcow2") that can hold the size, else
 * the first of them that is known. NULL: image-format says something that is not known. */
const char *disk_format_for(const struct val *sm_config, const struct val *device_config,
                            uint64_t size);
