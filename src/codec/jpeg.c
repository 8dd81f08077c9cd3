/* jpeg.c: see jpeg.h. The library reports errors by leaving through a jump. */
#include "codec/jpeg.h"

#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

struct errors {
    struct jpeg_error_mgr base; /* first */
    jmp_buf out;
};

static void give_up(j_common_ptr c)
{
    longjmp(((struct errors *)c->err)->out, 1);
}

static void say_nothing(j_common_ptr c)
{
    (void)c;
}

static void write_rows(struct jpeg_compress_struct *c, const uint8_t *pixels, unsigned width)
{
    while (c->next_scanline < c->image_height) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(pixels + (size_t)c->next_scanline * width * 3);
        jpeg_write_scanlines(c, &row, 1);
    }
}

int jpeg_encode(const uint8_t *pixels, unsigned width, unsigned height, int quality,
                struct buf *ret)
{
    struct jpeg_compress_struct c;
    struct errors errors;
    unsigned char *made = NULL;
    unsigned long size = 0;
    if (!width || !height || width > JPEG_MAX_DIMENSION || height > JPEG_MAX_DIMENSION)
        return -EINVAL;
    c.err = jpeg_std_error(&errors.base);
    errors.base.error_exit = give_up;
    errors.base.output_message = say_nothing;
    if (setjmp(errors.out)) {
        jpeg_destroy_compress(&c);
        free(made);
        return -EIO;
    }
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &made, &size);
    c.image_width = width;
    c.image_height = height;
    c.input_components = 3;
    c.in_color_space = JCS_RGB;
    jpeg_set_defaults(&c);
    jpeg_set_quality(&c, quality, TRUE);
    jpeg_start_compress(&c, TRUE);
    write_rows(&c, pixels, width);
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    buf_put(ret, made, size);
    free(made);
    return buf_ok(ret) ? 0 : -EIO;
}
