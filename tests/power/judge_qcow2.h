/*
 * judge_qcow2.h: is a qcow2 image valid? Read from its bytes by what the format says, and by
 * nothing that cairn-diskd is made of.
 */
#pragma once

#include "disk/image.h"

/* 0, or -EILSEQ and the reason: two users of a cluster, tables that lead nowhere, or, in an image
 * that says it was closed, counts that are not what its tables refer to. With `closed` it must say
 * so. -errno if it cannot be read. */
int judge_qcow2(const char *path, bool closed, struct image_why *why);
