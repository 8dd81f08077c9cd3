/* sr_ext.h: the file system of an "ext" repository on a device. Private to sr_file.c. */
#pragma once

#include "host/host_impl.h"
#include "host/sr_impl.h"

/* Mounts it on `dir`; mounted there already is fine. */
struct err *sr_ext_mount(struct host *h, const struct sr_ref *sr, const char *device,
                         const char *dir) _must_use_;
