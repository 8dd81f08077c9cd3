/*
 * vhd_text.h: UTF-16 of VHD headers and locators from and to UTF-8. Of vhd.c,
 * vhd_locator.c and the names of SMB; pure, any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Up to the end or a NUL; a lone surrogate becomes '?'. -EINVAL when it does not fit `max` bytes,
 * the NUL included; `out` is then what fitted. */
int utf16_parse(const uint8_t *p, size_t size, bool big, char *out, size_t max);
/* Returns the bytes written, at most `max`: what does not fit is left out. Bytes that are no UTF-8
 * become '?'. */
size_t utf16_put(const char *s, bool big, uint8_t *out, size_t max);
