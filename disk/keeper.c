/*
 * keeper.c: the process that outlives kill -9, and the memory shared with it. Called by diskd.c
 * (start), disk.c (hold, drop) and engine_vhd.c (notes). Owns the memory and the socket; the keeper
 * owns a descriptor of each file that is held.
 *
 * The socket carries orders one way and an answer to each drop; its end is our death. Nothing that
 * was sent before is lost: the keeper reads all orders first.
 */
#include "disk/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOG_MODULE "keeper"

#include "base/fd.h"
#include "base/log.h"
#include "disk/sandbox.h"

#define NOTES     1024u
#define FILES_MAX 256u

struct keeper_note {
    uint64_t at;
    uint32_t file; /* its number plus one; 0: a free note */
    uint8_t bits[KEEPER_BITS];
};

struct order {
    uint32_t file;
    bool is_drop;
};

static struct {
    pthread_mutex_t lock; /* over `taken` and the socket */
    int sock;             /* -1: no keeper */
    pid_t pid;
    struct keeper_note *note; /* shared */
    bool taken[FILES_MAX];
    unsigned next; /* loop's: notes before it are likely not free */
    unsigned n;    /* loop's: notes that are not free */
} keeper = {.lock = PTHREAD_MUTEX_INITIALIZER, .sock = -1};

static _Noreturn void keep(int sock);

/* Who looks for cairn-diskd, to kill it or to count it, shall not find the keeper. */
static void take_name(char **argv)
{
    static const char name[] = "cairn-keeper";
    (void)prctl(PR_SET_NAME, name);
    for (size_t i = 0; argv && argv[i]; i++) {
        size_t size = strlen(argv[i]);
        memset(argv[i], 0, size);
        if (i == 0)
            memcpy(argv[i], name, size < sizeof(name) ? size : sizeof(name));
    }
}

int keeper_start(bool sandboxed, char **argv)
{
    int pair[2];
    void *p = mmap(NULL, NOTES * sizeof(*keeper.note), PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return -errno;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        int r = -errno;
        (void)munmap(p, NOTES * sizeof(*keeper.note));
        return r;
    }
    keeper.note = p;
    keeper.pid = fork();
    if (keeper.pid == 0) {
        fd_close(pair[0]);
        take_name(argv);
        if (sandboxed && sandbox_enter(SANDBOX_LOCAL) < 0)
            _exit(1);
        keep(pair[1]);
    }
    fd_close(pair[1]);
    if (keeper.pid < 0) {
        int r = -errno;
        fd_close(pair[0]);
        return r;
    }
    keeper.sock = pair[0];
    return 0;
}

void keeper_stop(void)
{
    if (keeper.sock < 0)
        return;
    fd_close(keeper.sock);
    keeper.sock = -1;
    while (waitpid(keeper.pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    (void)munmap(keeper.note, NOTES * sizeof(*keeper.note));
    keeper.note = NULL;
    keeper.n = keeper.next = 0;
    memset(keeper.taken, 0, sizeof(keeper.taken));
}

/* ---- this process ---- */

int keeper_hold(const struct file *f)
{
    int held = -1;
    if (keeper.sock < 0 || f->fd < 0 || f->backend)
        return -1;
    pthread_mutex_lock(&keeper.lock);
    for (unsigned i = 0; held < 0 && i < FILES_MAX; i++)
        if (!keeper.taken[i])
            held = (int)i;
    struct order o = {.file = (uint32_t)held};
    if (held >= 0 && fd_send_fds(keeper.sock, &o, sizeof(o), &f->fd, 1) < 0)
        held = -1;
    if (held >= 0)
        keeper.taken[held] = true;
    pthread_mutex_unlock(&keeper.lock);
    return held;
}

void keeper_drop(int held)
{
    if (held < 0)
        return;
    struct order o = {.file = (uint32_t)held, .is_drop = true};
    char answer;
    pthread_mutex_lock(&keeper.lock);
    if (fd_send_fds(keeper.sock, &o, sizeof(o), NULL, 0) < 0 ||
        recv(keeper.sock, &answer, 1, 0) != 1)
        log_warn("event=keeper-gone");
    keeper.taken[held] = false;
    pthread_mutex_unlock(&keeper.lock);
}

struct keeper_note *keeper_note(int held, uint64_t at, const uint8_t bits[KEEPER_BITS])
{
    if (held < 0 || keeper.n == NOTES)
        return NULL;
    while (keeper.note[keeper.next].file)
        keeper.next = (keeper.next + 1) % NOTES;
    struct keeper_note *n = &keeper.note[keeper.next];
    n->at = at;
    memcpy(n->bits, bits, KEEPER_BITS);
    __atomic_store_n(&n->file, (uint32_t)held + 1, __ATOMIC_RELEASE);
    keeper.n++;
    return n;
}

void keeper_renew(struct keeper_note *n, const uint8_t bits[KEEPER_BITS])
{
    memcpy(n->bits, bits, KEEPER_BITS);
}

void keeper_forget(struct keeper_note *n)
{
    if (!keeper.note)
        return;
    __atomic_store_n(&n->file, 0, __ATOMIC_RELEASE);
    keeper.n--;
    keeper.next = (unsigned)(n - keeper.note);
}

/* ---- the keeper ---- */

/* One order; false at the end of the process that gives them. */
static bool obey(int sock, int *fds)
{
    struct order o;
    int fd = -1;
    unsigned n_fds = 1;
    ssize_t n = fd_recv_fds(sock, &o, sizeof(o), &fd, &n_fds);
    if (n < 0 && errno == EINTR)
        return true;
    if (n != sizeof(o) || o.file >= FILES_MAX)
        return false;
    fd_close(fds[o.file]);
    fds[o.file] = n_fds ? fd : -1;
    if (o.is_drop)
        (void)send(sock, "", 1, MSG_NOSIGNAL);
    return true;
}

static bool has_notes(uint32_t file)
{
    for (unsigned i = 0; i < NOTES; i++)
        if (keeper.note[i].file == file + 1)
            return true;
    return false;
}

/* The data of these bits was written before they were noted. */
static void finish(uint32_t file, int fd)
{
    struct flock l = {
        .l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = FILE_LOCK_KEEPER_AT, .l_len = 1};
    if (!has_notes(file))
        return;
    (void)fcntl(fd, F_OFD_SETLK, &l); /* who waits for us may be patient */
    if (fdatasync(fd) < 0)
        return;
    for (unsigned i = 0; i < NOTES; i++) {
        const struct keeper_note *n = &keeper.note[i];
        if (n->file == file + 1 && fd_pwrite_all(fd, n->bits, KEEPER_BITS, (off_t)n->at) < 0)
            return;
    }
}

static _Noreturn void keep(int sock)
{
    int fds[FILES_MAX];
    for (unsigned i = 0; i < FILES_MAX; i++)
        fds[i] = -1;
    while (obey(sock, fds))
        continue;
    for (unsigned i = 0; i < FILES_MAX; i++) {
        if (fds[i] >= 0)
            finish(i, fds[i]);
        fd_close(fds[i]);
    }
    _exit(0);
}
