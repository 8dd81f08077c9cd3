/* crc32.h: the CRC of zlib, PNG and LVM2 (reflected 0xEDB88320), in pieces. Pure, any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* `crc` of what came before: ~0 at first, where the format says nothing else. The result is not
 * inverted. */
uint32_t crc32_add(uint32_t crc, const void *p, size_t size);
