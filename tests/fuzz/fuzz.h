/* fuzz.h: what a target offers: libFuzzer calls it, and replay.c without libFuzzer. */
#pragma once

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
