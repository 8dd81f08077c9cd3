/* jpeg.h: pictures as JPEG, by libjpeg. Pure; any thread. */
#pragma once

#include <stdint.h>

#include "base/buf.h"

/* Appends the picture of width * height pixels, three bytes each (red, green, blue), row by row.
 * `quality` is 1 to 100. 0; -EINVAL for a picture without pixels or beyond 65500 on a side; -EIO
 * when the library gives up. */
int jpeg_encode(const uint8_t *pixels, unsigned width, unsigned height, int quality,
                struct buf *ret) _must_use_;
