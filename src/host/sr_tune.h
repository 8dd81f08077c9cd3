/*
 * sr_tune.h: how hard a repository's device is driven: what an administrator (or `cairn-diskd
 * profile`) says of it in SR.other_config, on its way to cairn-diskd.
 *
 *     other_config:io-split    bytes; large requests go to the device in parts of this size; 0:
 * whole other_config:io-budget   bytes in flight at most, shared by all disks that are busy; 0: no
 * limit
 *
 * What makes no sense is as if it was not there. Any thread; pure but for the names.
 */
#pragma once

#include "base/val.h"
#include "host/boot.h"
#include "host/host.h"

#define SR_TUNE_BUDGET ((uint64_t)32 << 20) /* where nothing is said */

/* Fills in the image's `split`, `budget_bytes` and `budget_path`. */
void sr_tune_image(const struct host *h, const char *uuid, const struct val *other_config,
                   struct image *image);
/* Adds them to an `activate` for cairn-diskd. */
void sr_tune_request(const struct image *image, struct val *activate);
