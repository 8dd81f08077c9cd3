/*
 * report.h: what is known of images as JSON, for the control socket and the one-shot commands.
 * Every function returns a new object that the caller owns. Any thread.
 */
#pragma once

#include <jansson.h>

#include "disk/create.h"

json_t *report_info(const struct image_info *info);
json_t *report_made(const struct image_made *made, enum image_format format);
/* Takes the object; prints one line on stdout. The program's exit code. */
int report_print(json_t *j);
