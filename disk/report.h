/*
 * report.h: what is known of images as JSON, for the control socket and the one-shot commands.
 * Every function returns a new object that the caller owns. The first two: any
 * thread; of disks: the loop's.
 */
#pragma once

#include <jansson.h>

#include "disk/create.h"
#include "disk/disk.h"

json_t *report_info(const struct image_info *info);
json_t *report_made(const struct image_made *made, enum image_format format);
/* One item of `query` and of `stats`. */
json_t *report_disk(const struct disk *d);
json_t *report_stats(const struct disk *d);
/* `room` of both. */
json_t *report_room(const struct disk *d);
/* Takes the object; prints one line on stdout. The program's exit code. */
int report_print(json_t *j);
