/* test_rfb.c: a guest's screen from a server that behaves and from some that do not; the JPEG made
 * of it, read back with the library. */
#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <jpeglib.h>

#include "base/fd.h"
#include "codec/bytes.h"
#include "codec/jpeg.h"
#include "host/rfb.h"

#define HELLO "RFB 003.008\n\1\1\0\0\0\0"
/* 4 x 2 pixels, a name of two letters */
#define INIT                                                                                       \
    "\0\4\0\2"                                                                                     \
    "\40\30\0\1\0\377\0\377\0\377\20\10\0\0\0\0"                                                   \
    "\0\0\0\2vm"
#define RECT(x, y, w, h) "\0" x "\0" y "\0" w "\0" h "\0\0\0\0"

struct said {
    char bytes[512];
    size_t size;
};

static void say(struct said *s, const char *p, size_t size)
{
    memcpy(s->bytes + s->size, p, size);
    s->size += size;
}
#define SAY(s, text) say(s, text, sizeof(text) - 1)

static void say_pixels(struct said *s, unsigned n, const char bgrx[4])
{
    while (n--)
        say(s, bgrx, 4);
}

/* What the client makes of a server that has said all of this already. */
static struct err *look(const struct said *s, struct picture *ret)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(fd_write_all(pair[1], s->bytes, s->size), 0);
    shutdown(pair[1], SHUT_WR);
    struct err *e = rfb_snapshot(pair[0], ret);
    close(pair[0]);
    close(pair[1]);
    return e;
}

static void a_screen_comes_in_rectangles(void **state)
{
    _cleanup_(picture_done) struct picture p = {0};
    struct said s = {0};
    SAY(&s, HELLO INIT);
    SAY(&s, "\2");                                    /* a bell */
    SAY(&s, "\3\0\0\0\0\0\0\5paste");                 /* a clipboard */
    SAY(&s, "\1\0\0\0\0\1\1\2\3\4\5\6");              /* a palette */
    SAY(&s, "\0\0\0\1" RECT("\0", "\0", "\2", "\2")); /* the left half: red */
    say_pixels(&s, 4, "\0\0\377\0");
    SAY(&s, "\0\0\0\2" RECT("\2", "\0", "\2", "\1")); /* green above, blue below */
    say_pixels(&s, 2, "\0\377\0\0");
    SAY(&s, RECT("\2", "\1", "\2", "\1"));
    say_pixels(&s, 2, "\377\0\0\0");
    assert_null(look(&s, &p));
    assert_int_equal(p.width, 4);
    assert_int_equal(p.height, 2);
    static const uint8_t wanted[24] = {255, 0, 0, 255, 0, 0, 0, 255, 0,   0, 255, 0,
                                       255, 0, 0, 255, 0, 0, 0, 0,   255, 0, 0,   255};
    assert_memory_equal(p.pixels, wanted, sizeof(wanted));
}

static void is_refused(const char *p, size_t size, const char *why)
{
    struct picture none = {0};
    struct said s = {0};
    say(&s, p, size);
    _cleanup_(err_freep) struct err *e = look(&s, &none);
    assert_non_null(e);
    assert_null(none.pixels);
    _cleanup_(freep) char *text = err_text(e);
    if (!strstr(text, why))
        fail_msg("'%s' does not say '%s'", text, why);
}
#define REFUSED(text, why) is_refused(text, sizeof(text) - 1, why)

static void servers_that_misbehave_are_left(void **state)
{
    REFUSED("HTTP/1.1 400", "another protocol");
    REFUSED("RFB 003.008\n\0", "refuses");
    REFUSED("RFB 003.008\n\1\2", "password");
    REFUSED("RFB 003.008\n\1\1\0\0\0\1", "refuses");
    REFUSED(HELLO "\377\377\377\377"
                  "\40\30\0\1\0\377\0\377\0\377\20\10\0\0\0\0\0\0\0\0",
            "out of bounds");
    REFUSED(HELLO "\0\0\0\1"
                  "\40\30\0\1\0\377\0\377\0\377\20\10\0\0\0\0\0\0\0\0",
            "out of bounds");
    REFUSED(HELLO "\0\1\0\1"
                  "\40\30\0\1\0\377\0\377\0\377\20\10\0\0\0\0\377\0\0\0",
            "too much");
    REFUSED(HELLO INIT "\0\0\0\1" RECT("\3", "\0", "\2", "\1"), "beyond its edges");
    REFUSED(HELLO INIT "\0\0\0\1"
                       "\0\0\0\0\0\1\0\1\0\0\0\7",
            "not asked for");
    REFUSED(HELLO INIT "\7", "nobody knows");
    REFUSED(HELLO INIT "\0\0\0\1" RECT("\0", "\0", "\4", "\2"), "does not answer");
}

static void the_jpeg_has_the_picture(void **state)
{
    enum { W = 32, H = 16 };
    static uint8_t pixels[W * H * 3];
    for (size_t i = 0; i < sizeof(pixels); i += 3)
        pixels[i] = 200; /* red */
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, 1 << 20);
    assert_int_equal(jpeg_encode(pixels, W, H, 90, &b), 0);
    assert_int_equal(jpeg_encode(pixels, 0, H, 90, &b), -EINVAL);
    assert_int_equal(jpeg_encode(pixels, 70000, 1, 90, &b), -EINVAL);

    struct jpeg_decompress_struct d;
    struct jpeg_error_mgr errors;
    d.err = jpeg_std_error(&errors);
    jpeg_create_decompress(&d);
    jpeg_mem_src(&d, (unsigned char *)b.data, b.size);
    assert_int_equal(jpeg_read_header(&d, TRUE), JPEG_HEADER_OK);
    jpeg_start_decompress(&d);
    assert_int_equal(d.output_width, W);
    assert_int_equal(d.output_height, H);
    uint8_t row[W * 3];
    JSAMPROW rows[] = {row};
    jpeg_read_scanlines(&d, rows, 1);
    assert_in_range(row[30], 190, 210);
    assert_in_range(row[31], 0, 12);
    jpeg_destroy_decompress(&d);

    buf_clear(&b);
    b.max = 10;
    assert_int_equal(jpeg_encode(pixels, W, H, 90, &b), -EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_screen_comes_in_rectangles),
        cmocka_unit_test(servers_that_misbehave_are_left),
        cmocka_unit_test(the_jpeg_has_the_picture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
