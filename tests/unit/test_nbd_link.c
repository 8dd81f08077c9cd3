/*
 * test_nbd_link.c: requests over a link to a small server in a thread, which holds answers back,
 * refuses, or dies, as the offset of a request says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "codec/bytes.h"
#include "disk/nbd_proto.h"
#include "host/nbd_link.h"

#define SIZE     (32u << 20)
#define AT_DEATH (30u << 20) /* a read there is the end of the server */
#define AT_ERROR (29u << 20)
#define AT_HELD  (28u << 20) /* answered after the next request */

struct served {
    char folder[32], path[64];
    int fd;
    pthread_t thread;
    uint8_t *bytes;
    sem_t answered;
    struct nbd_request held;
    bool holds;
};

/* ---- the server ---- */

static bool take(int fd, void *p, size_t size)
{
    return recv(fd, p, size, MSG_WAITALL) == (ssize_t)size;
}

static void put(int fd, const void *p, size_t size)
{
    for (ssize_t n; size; p = (const char *)p + n, size -= (size_t)n)
        if ((n = send(fd, p, size, MSG_NOSIGNAL)) <= 0)
            return;
}

static bool shake_hands(int fd)
{
    struct nbd_handshake h = {.export_name = "",
                              .size = SIZE,
                              .flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH |
                                       NBD_FLAG_SEND_WRITE_ZEROES};
    _cleanup_(buf_done) struct buf out;
    uint8_t in[4096];
    size_t have = 0, used = 0;
    buf_init(&out, 65536);
    nbd_greet(&h, &out);
    for (enum nbd_step step = NBD_MORE; step != NBD_TRANSMIT;) {
        put(fd, out.data, out.size);
        buf_clear(&out);
        ssize_t n = step == NBD_MORE ? recv(fd, in + have, sizeof(in) - have, 0) : 0;
        if (n < 0 || (step == NBD_MORE && n == 0))
            return false;
        have += (size_t)n;
        step = nbd_handshake_step(&h, in, have, &used, &out);
        have -= used;
        memmove(in, in + used, have);
    }
    put(fd, out.data, out.size);
    return true;
}

static void answer_read(struct served *s, int fd, const struct nbd_request *r)
{
    uint8_t head[28];
    size_t n = nbd_put_chunk(head, r->cookie, NBD_REPLY_OFFSET_DATA, r->size + 8);
    put_be64(head + n, r->offset);
    put(fd, head, n + 8);
    put(fd, s->bytes + r->offset, r->size);
    sem_post(&s->answered);
}

static void answer_error(int fd, const struct nbd_request *r)
{
    uint8_t b[26];
    size_t n = nbd_put_chunk(b, r->cookie, NBD_REPLY_ERROR, 6);
    put_be32(b + n, nbd_error_of(EIO));
    put_be16(b + n + 4, 0);
    put(fd, b, n + 6);
}

/* Data, data, a hole, data to the end. */
static void answer_status(int fd, const struct nbd_request *r)
{
    static const uint32_t sizes[] = {4096, 4096, 8192, 16384};
    uint8_t b[20 + 4 + 4 * 8];
    size_t n = nbd_put_chunk(b, r->cookie, NBD_REPLY_BLOCK_STATUS, 4 + 4 * 8);
    put_be32(b + n, NBD_CONTEXT_ID);
    for (size_t i = 0; i < 4; i++) {
        put_be32(b + n + 4 + i * 8, sizes[i]);
        put_be32(b + n + 8 + i * 8, i == 2 ? NBD_STATE_HOLE | NBD_STATE_ZERO : 0);
    }
    put(fd, b, sizeof(b));
}

static void answer_simple(int fd, const struct nbd_request *r)
{
    uint8_t b[16];
    put(fd, b, nbd_put_simple(b, r->cookie, 0));
}

static bool serve_one(struct served *s, int fd, const struct nbd_request *r)
{
    if (r->type == NBD_CMD_DISC || (r->type == NBD_CMD_READ && r->offset == AT_DEATH))
        return false;
    if (r->type == NBD_CMD_WRITE && !take(fd, s->bytes + r->offset, r->size))
        return false;
    if (r->type == NBD_CMD_WRITE_ZEROES)
        memset(s->bytes + r->offset, 0, r->size);
    if (r->type == NBD_CMD_READ && r->offset == AT_HELD) {
        s->held = *r;
        s->holds = true;
        sem_post(&s->answered);
        return true;
    }
    if (r->type == NBD_CMD_READ && r->offset == AT_ERROR)
        answer_error(fd, r);
    else if (r->type == NBD_CMD_READ)
        answer_read(s, fd, r);
    else if (r->type == NBD_CMD_BLOCK_STATUS)
        answer_status(fd, r);
    else
        answer_simple(fd, r);
    if (s->holds)
        answer_read(s, fd, &s->held);
    s->holds = false;
    return true;
}

static void *serve(void *arg)
{
    struct served *s = arg;
    int fd = accept(s->fd, NULL, NULL);
    bool on = shake_hands(fd);
    while (on) {
        uint8_t head[NBD_REQUEST_SIZE];
        struct nbd_request r;
        on = take(fd, head, sizeof(head)) && nbd_request_parse(head, &r) == 0 &&
             serve_one(s, fd, &r);
    }
    close(fd);
    return NULL;
}

static int begin(void **state)
{
    struct served *s = mem_new(struct served);
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    strcpy(s->folder, "/tmp/test_nbd_link.XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    snprintf(s->path, sizeof(s->path), "%s/s", s->folder);
    memcpy(sa.sun_path, s->path, strlen(s->path));
    s->bytes = mem_zalloc(SIZE, 1);
    for (size_t i = 0; i < SIZE; i++)
        s->bytes[i] = (uint8_t)(i * 31 >> 8);
    sem_init(&s->answered, 0, 0);
    s->fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(listen(s->fd, 1), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
    *state = s;
    return 0;
}

static int finish(void **state)
{
    struct served *s = *state;
    pthread_join(s->thread, NULL);
    close(s->fd);
    unlink(s->path);
    rmdir(s->folder);
    sem_destroy(&s->answered);
    free(s->bytes);
    free(s);
    return 0;
}

/* ---- the tests ---- */

static struct nbd_link *link_to(const struct served *s)
{
    struct nbd_link *l = NULL;
    struct err *e = nbd_link_open(s->path, &l);
    assert_null(e);
    assert_int_equal(nbd_link_size(l), SIZE);
    return l;
}

static void wait_done(struct nbd_link *l, const struct nbd_ask *a)
{
    while (!nbd_link_is_done(l, a))
        nbd_link_wait(l, 250);
}

static int run(struct nbd_link *l, struct nbd_ask a)
{
    nbd_link_post(l, &a);
    wait_done(l, &a);
    return a.error;
}

static void test_bytes_both_ways(void **state)
{
    struct served *s = *state;
    struct nbd_link *l = link_to(s);
    char out[4096], in[4096];
    memset(out, 'x', sizeof(out));
    assert_int_equal(
        run(l, (struct nbd_ask){.what = NBD_WRITE, .at = 8192, .size = 4096, .room = out}), 0);
    assert_memory_equal(s->bytes + 8192, out, 4096);
    assert_int_equal(run(l, (struct nbd_ask){.what = NBD_ZERO, .at = 8192, .size = 512}), 0);
    assert_int_equal(run(l, (struct nbd_ask){.what = NBD_FLUSH}), 0);
    assert_int_equal(
        run(l, (struct nbd_ask){.what = NBD_READ, .at = 8192, .size = 4096, .room = in}), 0);
    memset(out, 0, 512);
    assert_memory_equal(in, out, sizeof(in));
    nbd_link_free(l);
}

static void test_extents_of_one_kind_are_one(void **state)
{
    struct nbd_link *l = link_to(*state);
    struct nbd_extent x[NBD_EXTENTS_MAX];
    struct nbd_ask a = {.what = NBD_STATUS, .at = 4096, .size = 32768, .extents = x};
    assert_true(nbd_link_has_status(l));
    nbd_link_post(l, &a);
    wait_done(l, &a);
    assert_int_equal(a.error, 0);
    assert_int_equal(a.n_extents, 3);
    assert_int_equal(x[0].to, 4096 + 8192);
    assert_false(x[0].zero);
    assert_int_equal(x[1].to, 4096 + 16384);
    assert_true(x[1].zero);
    assert_int_equal(x[2].to, 4096 + 32768);
    assert_false(x[2].zero);
    nbd_link_free(l);
}

/* More than sockets hold arrives while nobody looks at the link. */
static void test_bytes_move_by_themselves(void **state)
{
    struct served *s = *state;
    struct nbd_link *l = link_to(s);
    struct nbd_ask a = {.what = NBD_READ, .at = 0, .size = 24 << 20};
    a.room = mem_zalloc(a.size, 1);
    nbd_link_post(l, &a);
    while (sem_wait(&s->answered) < 0 && errno == EINTR)
        ;
    wait_done(l, &a);
    assert_int_equal(a.error, 0);
    assert_memory_equal(a.room, s->bytes, a.size);
    nbd_link_free(l);
    free(a.room);
}

static void test_answers_in_any_order(void **state)
{
    struct served *s = *state;
    struct nbd_link *l = link_to(s);
    char first[4096], second[512];
    struct nbd_ask a = {.what = NBD_READ, .at = AT_HELD, .size = 4096, .room = first};
    struct nbd_ask b = {.what = NBD_READ, .at = 512, .size = 512, .room = second};
    nbd_link_post(l, &a);
    while (sem_wait(&s->answered) < 0 && errno == EINTR)
        ;
    assert_false(nbd_link_is_done(l, &a));
    nbd_link_post(l, &b);
    wait_done(l, &b);
    wait_done(l, &a);
    assert_memory_equal(second, s->bytes + 512, 512);
    assert_memory_equal(first, s->bytes + AT_HELD, 4096);
    nbd_link_free(l);
}

static void test_an_error_is_of_its_request_alone(void **state)
{
    struct nbd_link *l = link_to(*state);
    char room[512];
    struct nbd_ask a = {.what = NBD_READ, .at = AT_ERROR, .size = 512, .room = room};
    assert_int_equal(run(l, a), EIO);
    a.at = 0;
    assert_int_equal(run(l, a), 0);
    nbd_link_free(l);
}

static void test_a_server_that_dies_ends_all(void **state)
{
    struct nbd_link *l = link_to(*state);
    char room[1024];
    struct nbd_ask a = {.what = NBD_READ, .at = AT_HELD, .size = 512, .room = room};
    struct nbd_ask b = {.what = NBD_READ, .at = AT_DEATH, .size = 512, .room = room + 512};
    nbd_link_post(l, &a);
    nbd_link_post(l, &b);
    wait_done(l, &b);
    wait_done(l, &a);
    assert_int_not_equal(a.error, 0);
    assert_int_not_equal(b.error, 0);
    assert_int_not_equal(run(l, (struct nbd_ask){.what = NBD_FLUSH}), 0);
    nbd_link_free(l);
}

static void test_it_ends_in_the_middle(void **state)
{
    struct served *s = *state;
    struct nbd_link *l = link_to(s);
    char room[512];
    struct nbd_ask a = {.what = NBD_READ, .at = AT_HELD, .size = 512, .room = room};
    nbd_link_post(l, &a);
    while (sem_wait(&s->answered) < 0 && errno == EINTR)
        ;
    nbd_link_free(l);
}

static void test_nobody_there(void **state)
{
    struct nbd_link *l = NULL;
    struct err *e = nbd_link_open("/nonexistent/socket", &l);
    assert_non_null(e);
    assert_null(l);
    err_free(e);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_bytes_both_ways),
        TEST(test_extents_of_one_kind_are_one),
        TEST(test_bytes_move_by_themselves),
        TEST(test_answers_in_any_order),
        TEST(test_an_error_is_of_its_request_alone),
        TEST(test_a_server_that_dies_ends_all),
        TEST(test_it_ends_in_the_middle),
        cmocka_unit_test(test_nobody_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
