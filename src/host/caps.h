/*
 * caps.h: what this machine can do for guests. Private to src/host.
 *
 * Found out once, when the host is made: acceleration, firmware, CPU, memory, privileges. KVM is
 * believed only after a guest has run under it (see kvm_probe.c): a device node proves nothing.
 */
#pragma once

#include "host/host_impl.h"

/* accel: "kvm", "tcg", NULL or "auto" to find out. */
struct err *caps_find(struct host *h, const char *accel) _must_use_;
struct err *caps_simulated(struct host *h) _must_use_;
void caps_done(struct host_caps *c);

/* Runs a guest of one boot sector under KVM that writes READY to its serial port. 0, or -errno with
 * a sentence that says what was missing (owned by the caller). Blocks up to 10 s. */
int kvm_probe(const char *qemu, const char *dir, char **ret_reason);
/* The same guest under any accelerator. */
int probe_guest(const char *qemu, const char *accel, const char *dir, char **ret_reason);

/* Where a firmware file lies, "" if it is not installed. Owned by the caller. */
char *caps_firmware(bool secure, bool variables);
