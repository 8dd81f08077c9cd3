/*
 * nfs.c: files of an NFS version 3 server, by libnfs. The module of "nfs://".
 *
 *     nfs://SERVER/EXPORT//PATH          EXPORT is what is mounted, PATH a file below it
 *
 * One connection a file. Every write asks the server to have it on stable storage before it answers
 * (O_SYNC): libnfs does not notice a server that restarted between an unstable write and its
 * commit, so nothing must depend on a commit. A flush therefore has nothing to do.
 *
 * A server that is away makes requests wait, not fail: libnfs connects again and sends them again,
 * for as long as it takes. Only opening and closing give up, after PATIENCE_MS. libnfs's own
 * synchronous calls are not used: they return while their requests live on.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <unistd.h>

#include <nfsc/libnfs.h>
#include <nfsc/libnfs-raw-mount.h>

#include "base/mem.h"
#include "base/str.h"
#include "disk/backend/backend.h"
#include "disk/backend/remote.h"
#include "disk/backend/wire.h"

#define PATIENCE_MS 30000
#define TICK_MS     100
#define STALL_MS    5000  /* a request that is not answered is sent again over a new connection */
#define SILENCE_MS  20000 /* unanswered bytes end a connection, so that another one is made */
#define PART        (1u << 20) /* of a call that blocks */
#define TRIES       3          /* of a SYN */

struct nfs_file {
    struct file file;
    struct backend backend;
    char *url;
    struct file *lock;
    struct nfs_context *nfs;
    struct nfsfh *fh;
    struct wire wire;
    unsigned in_flight;
    uint64_t heard_ms;      /* when an answer came, or a first request went */
    struct transfer *later; /* the server asked to try again */
};

/* ---- names ---- */

struct place {
    char *server, *export, *path; /* path begins with a slash */
};

static void place_done(struct place *p)
{
    free(p->server);
    free(p->export);
    free(p->path);
}

static int place_parse(const char *url, struct place *ret)
{
    if (strncmp(url, "nfs://", 6) != 0)
        return -EINVAL;
    const char *server = url + 6, *export = strchr(server, '/');
    const char *path = export ? strstr(export, "//") : NULL;
    if (!export || export == server || export[1] == '\0')
        return -EINVAL;
    ret->server = mem_strndup(server, (size_t)(export - server));
    ret->export = path ? mem_strndup(export, (size_t)(path - export)) : mem_strdup(export);
    ret->path = mem_printf("/%s", path ? path + 2 : "");
    return 0;
}

/* ---- one question at a time, for those who may wait ---- */

struct answer {
    bool is_done, is_abandoned;
    bool is_count; /* the status is how many bytes came */
    int status;
    void *data; /* of an opened file or folder */
    void *to;   /* where a result of `to_size` bytes goes */
    size_t to_size;
};

/* For transfers libnfs says -EFAULT, and what it was in its last error: "… NFS3ERR_NOSPC(-28)". */
static int error_of(int status, struct nfs_context *nfs)
{
    const char *text = status == -EFAULT ? nfs_get_error(nfs) : NULL;
    const char *number = text ? strrchr(text, '(') : NULL;
    uint64_t n = 0;
    if (status != -EFAULT)
        return status;
    if (!number || number[1] != '-')
        return -EIO;
    struct view digits = {number + 2, strspn(number + 2, "0123456789")};
    return str_u64(digits, 1, 4095, &n) == 0 ? -(int)n : -EIO;
}

static void on_answer(int status, struct nfs_context *nfs, void *data, void *arg)
{
    struct answer *a = arg;
    if (a->is_abandoned) {
        free(a);
        return;
    }
    a->is_done = true;
    a->status = error_of(status, nfs);
    a->data = status < 0 ? NULL : data;
    size_t n = a->is_count && status >= 0 ? (size_t)status : a->to_size;
    if (status >= 0 && n && n <= a->to_size)
        memcpy(a->to, data, n);
}

static uint64_t now_ms(void)
{
    return ring_now_us() / 1000;
}

static void watch_connection(struct nfs_context *nfs)
{
    unsigned silence = SILENCE_MS;
    (void)setsockopt(nfs_get_fd(nfs), IPPROTO_TCP, TCP_USER_TIMEOUT, &silence, sizeof(silence));
}

/* Servers lose requests while they come up. libnfs sends again what it has sent over a connection
 * that ended. */
static uint64_t check_stall(struct nfs_context *nfs, uint64_t heard_ms)
{
    uint64_t now = now_ms();
    if (now - heard_ms < STALL_MS)
        return heard_ms;
    (void)shutdown(nfs_get_fd(nfs), SHUT_RDWR);
    return now;
}

static void wait_for(struct nfs_context *nfs, struct answer *a)
{
    uint64_t heard = now_ms(), end = heard + PATIENCE_MS;
    while (!a->is_done && now_ms() < end) {
        struct pollfd p = {.fd = nfs_get_fd(nfs), .events = (short)nfs_which_events(nfs)};
        int n = poll(&p, 1, TICK_MS);
        bool is_broken = n > 0 && p.revents & (POLLERR | POLLHUP | POLLNVAL);
        if ((nfs_service(nfs, n > 0 ? p.revents : 0) < 0 || is_broken) && !a->is_done)
            (void)poll(NULL, 0, TICK_MS);
        heard = check_stall(nfs, heard);
    }
}

/* `queued` is what queueing the question returned. The answer is given back or abandoned. */
static int finish(struct nfs_context *nfs, int queued, struct answer *a, void **ret_data)
{
    int r = queued < 0 ? -EIO : 0;
    if (r == 0) {
        wait_for(nfs, a);
        r = a->is_done ? a->status : -ETIMEDOUT;
    }
    if (ret_data)
        *ret_data = a->data;
    if (queued < 0 || a->is_done)
        free(a);
    else
        a->is_abandoned = true;
    return r;
}

static struct answer *ask(void *to, size_t to_size)
{
    struct answer *a = mem_new(struct answer);
    *a = (struct answer){.to = to, .to_size = to_size};
    return a;
}

#define ASK(nfs, to, to_size, ret_data, call, ...)                                                 \
    ({                                                                                             \
        struct answer *a_ = ask((to), (to_size));                                                  \
        finish((nfs), call((nfs), __VA_ARGS__, on_answer, a_), a_, (ret_data));                    \
    })

static int connect_to(const struct place *p, struct nfs_context **ret)
{
    struct nfs_context *nfs = nfs_init_context();
    if (!nfs)
        return -ENOMEM;
    nfs_set_tcp_syncnt(nfs, TRIES);
    nfs_set_dircache(nfs, 0);
    int r = ASK(nfs, NULL, 0, NULL, nfs_mount_async, p->server, p->export);
    if (r < 0) {
        nfs_destroy_context(nfs);
        return r == -EIO ? -EHOSTUNREACH : r;
    }
    watch_connection(nfs);
    *ret = nfs;
    return 0;
}

/* ---- the file: blocking side ---- */

/* The file, and the loop has left it. */
static struct nfs_file *of(struct file *f)
{
    struct nfs_file *nf = (struct nfs_file *)f;
    wire_leave(&nf->wire);
    return nf;
}

static ssize_t read_part(struct nfs_file *nf, void *p, uint64_t size, uint64_t at)
{
    struct answer *a = ask(p, size);
    a->is_count = true;
    return finish(nf->nfs, nfs_pread_async(nf->nfs, nf->fh, at, size, on_answer, a), a, NULL);
}

static ssize_t write_part(struct nfs_file *nf, const void *p, uint64_t size, uint64_t at)
{
    return ASK(nf->nfs, NULL, 0, NULL, nfs_pwrite_async, nf->fh, at, size, p);
}

static int nf_pread(struct file *f, void *p, size_t size, uint64_t at)
{
    for (size_t done = 0; done < size;) {
        size_t part = size - done < PART ? size - done : PART;
        ssize_t n = read_part(of(f), (char *)p + done, part, at + done);
        if (n <= 0)
            return n < 0 ? (int)n : -ENODATA;
        done += (size_t)n;
    }
    return 0;
}

static int nf_pwrite(struct file *f, const void *p, size_t size, uint64_t at)
{
    for (size_t done = 0; done < size;) {
        size_t part = size - done < PART ? size - done : PART;
        ssize_t n = write_part(of(f), (const char *)p + done, part, at + done);
        if (n <= 0)
            return n < 0 ? (int)n : -EIO;
        done += (size_t)n;
    }
    return 0;
}

static int nf_reserve(struct file *f, uint64_t at, uint64_t size)
{
    (void)f, (void)at, (void)size;
    return -EOPNOTSUPP;
}

static int nf_lock(struct file *f, enum file_lock how)
{
    struct nfs_file *nf = of(f);
    return remote_lock(nf->url, how, &nf->lock);
}

static int nf_stat(struct file *f, struct file_stat *ret)
{
    struct nfs_file *nf = of(f);
    struct nfs_stat_64 st = {0};
    int r = ASK(nf->nfs, &st, sizeof(st), NULL, nfs_fstat64_async, nf->fh);
    *ret = (struct file_stat){
        .size = st.nfs_size, .allocated = st.nfs_used, .mtime = (int64_t)st.nfs_mtime};
    return r;
}

static int nf_truncate(struct file *f, uint64_t size)
{
    struct nfs_file *nf = of(f);
    return ASK(nf->nfs, NULL, 0, NULL, nfs_ftruncate_async, nf->fh, size);
}

static int nf_sync(struct file *f)
{
    (void)f;
    return 0;
}

/* A question that was given up may still be answered: destroying the context ends it. */
static void nf_close(struct file *f)
{
    struct nfs_file *nf = of(f);
    if (nf->fh)
        (void)ASK(nf->nfs, NULL, 0, NULL, nfs_close_async, nf->fh);
    nfs_destroy_context(nf->nfs);
    file_close(nf->lock);
    free(nf->url);
    free(nf);
}

/* ---- the file: on the loop ---- */

static void try_again(struct nfs_file *nf);

static int wire_fd(void *arg)
{
    return nfs_get_fd(((struct nfs_file *)arg)->nfs);
}

static short wire_events(void *arg)
{
    return (short)nfs_which_events(((struct nfs_file *)arg)->nfs);
}

static void wire_service(void *arg, short events)
{
    struct nfs_file *nf = arg;
    (void)nfs_service(nf->nfs, events);
    if (events == 0 && nf->in_flight)
        nf->heard_ms = check_stall(nf->nfs, nf->heard_ms);
    if (events == 0)
        try_again(nf);
}

static bool wire_is_idle(void *arg)
{
    return ((struct nfs_file *)arg)->in_flight == 0;
}

static const struct wire_ops wire_ops = {
    .fd = wire_fd, .events = wire_events, .service = wire_service, .is_idle = wire_is_idle};

/* One transfer: what goes through libnfs is in one piece. */
struct transfer {
    struct nfs_file *nf;
    struct io *io;
    char *bytes; /* gathered; NULL: the io's own memory */
    struct transfer *next;
};

static void issue(struct transfer *t);

static void transfer_end(struct transfer *t, int err)
{
    struct io *io = t->io;
    t->nf->in_flight--;
    free(t->bytes);
    free(t);
    io->done(io, err);
}

static void scatter(const struct io *io, const char *from, size_t size)
{
    for (int i = 0; i < io->n_iov && size; i++) {
        size_t n = io->iov[i].iov_len < size ? io->iov[i].iov_len : size;
        memcpy(io->iov[i].iov_base, from, n);
        from += n;
        size -= n;
    }
}

static void on_transfer(int status, struct nfs_context *nfs, void *data, void *arg)
{
    struct transfer *t = arg;
    t->nf->heard_ms = now_ms();
    status = error_of(status, nfs);
    if (status == -EAGAIN) {
        t->next = t->nf->later;
        t->nf->later = t;
        return;
    }
    if (status < 0) {
        transfer_end(t, status);
        return;
    }
    if (t->io->op == IO_READ && status > 0)
        scatter(t->io, data, (size_t)status);
    free(t->bytes);
    t->bytes = NULL;
    int r = io_advance(t->io, (uint64_t)status);
    if (r == 0)
        issue(t);
    else
        transfer_end(t, r < 0 ? r : 0);
}

static const char *gather(struct transfer *t)
{
    const struct io *io = t->io;
    if (io->n_iov == 1)
        return io->iov[0].iov_base;
    char *p = t->bytes = mem_try_alloc((size_t)io->size, 1);
    for (int i = 0; p && i < io->n_iov; i++) {
        memcpy(p, io->iov[i].iov_base, io->iov[i].iov_len);
        p += io->iov[i].iov_len;
    }
    return t->bytes;
}

static void issue(struct transfer *t)
{
    struct nfs_file *nf = t->nf;
    struct io *io = t->io;
    int r = -ENOMEM;
    if (io->op == IO_READ) {
        r = nfs_pread_async(nf->nfs, nf->fh, io->offset, io->size, on_transfer, t);
    } else {
        const char *bytes = gather(t);
        if (bytes)
            r = nfs_pwrite_async(nf->nfs, nf->fh, io->offset, io->size, bytes, on_transfer, t);
    }
    if (r < 0)
        transfer_end(t, -ENOMEM);
}

static void try_again(struct nfs_file *nf)
{
    struct transfer *t = nf->later;
    nf->later = NULL;
    while (t) {
        struct transfer *next = t->next;
        free(t->bytes);
        t->bytes = NULL;
        issue(t);
        t = next;
    }
}

static void nf_submit(struct backend *b, struct io *io)
{
    struct nfs_file *nf = (struct nfs_file *)((char *)b - offsetof(struct nfs_file, backend));
    if (io->op != IO_READ && io->op != IO_WRITE) {
        io->done(io, io->op == IO_SYNC ? 0 : -EOPNOTSUPP);
        return;
    }
    struct transfer *t = mem_new(struct transfer);
    *t = (struct transfer){.nf = nf, .io = io};
    if (nf->in_flight++ == 0)
        nf->heard_ms = now_ms();
    issue(t);
    wire_use(&nf->wire);
}

static const struct backend_ops backend_ops = {.submit = nf_submit};
static const struct file_ops ops = {.pread = nf_pread,
                                    .pwrite = nf_pwrite,
                                    .sync = nf_sync,
                                    .truncate = nf_truncate,
                                    .reserve = nf_reserve,
                                    .stat = nf_stat,
                                    .lock = nf_lock,
                                    .close = nf_close};

static int open_handle(struct nfs_file *nf, const char *path, int flags)
{
    void *fh = NULL;
    int r;
    if (flags & O_CREAT)
        r = ASK(nf->nfs, NULL, 0, &fh, nfs_create_async, path, O_EXCL | O_SYNC, 0600);
    else
        r = ASK(nf->nfs, NULL, 0, &fh, nfs_open_async, path, flags);
    nf->fh = fh;
    return r;
}

static int open_url(const char *url, int flags, struct file **ret)
{
    _cleanup_(place_done) struct place p = {0};
    struct nfs_context *nfs = NULL;
    int r = place_parse(url, &p);
    if (r == 0)
        r = connect_to(&p, &nfs);
    if (r < 0)
        return r;
    struct nfs_file *nf = mem_new(struct nfs_file);
    *nf = (struct nfs_file){.file = {.ops = &ops, .backend = &nf->backend, .fd = -1},
                            .backend = {.ops = &backend_ops},
                            .url = mem_strdup(url),
                            .nfs = nfs,
                            .wire = {.ops = &wire_ops, .arg = nf, .fd = -1}};
    r = open_handle(nf, p.path, flags);
    if (r < 0) {
        nf_close(&nf->file);
        return r;
    }
    nfs_set_autoreconnect(nfs, -1);
    *ret = &nf->file;
    return 0;
}

static int open_file(const char *url, enum file_mode mode, struct file **ret)
{
    return open_url(url, mode == FILE_READ ? O_RDONLY : O_RDWR | O_SYNC, ret);
}

static int create_file(const char *url, struct file **ret)
{
    return open_url(url, O_RDWR | O_CREAT, ret);
}

/* ---- folders, for the commands ---- */

static json_t *entry_of(const struct nfsdirent *e)
{
    json_t *name = json_string(e->name);
    if (!name)
        return NULL; /* no UTF-8: none of ours */
    return json_pack("{s:o, s:b, s:I}", "name", name, "folder", S_ISDIR(e->mode), "size",
                     (json_int_t)e->size);
}

static int list(struct nfs_context *nfs, const char *path, json_t **ret)
{
    void *dir = NULL;
    int r = ASK(nfs, NULL, 0, &dir, nfs_opendir_async, path);
    if (r < 0)
        return r;
    json_t *entries = json_array();
    const struct nfsdirent *e;
    while ((e = nfs_readdir(nfs, dir))) {
        bool is_self = strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0;
        json_t *entry = is_self ? NULL : entry_of(e);
        if (entry)
            (void)json_array_append_new(entries, entry);
    }
    nfs_closedir(nfs, dir);
    *ret = json_pack("{s:o}", "entries", entries);
    return 0;
}

static int stat_path(struct nfs_context *nfs, const char *path, json_t **ret)
{
    struct nfs_stat_64 st = {0};
    int r = ASK(nfs, &st, sizeof(st), NULL, nfs_stat64_async, path);
    if (r == 0)
        *ret = json_pack("{s:b, s:I, s:I, s:I}", "folder", S_ISDIR((mode_t)st.nfs_mode), "size",
                         (json_int_t)st.nfs_size, "allocated", (json_int_t)st.nfs_used, "inode",
                         (json_int_t)st.nfs_ino);
    return r;
}

static int space(struct nfs_context *nfs, const char *path, json_t **ret)
{
    struct statvfs st = {0};
    int r = ASK(nfs, &st, sizeof(st), NULL, nfs_statvfs_async, path);
    if (r == 0)
        *ret = json_pack("{s:I, s:I}", "size", (json_int_t)(st.f_blocks * st.f_frsize), "free",
                         (json_int_t)(st.f_bavail * st.f_frsize));
    return r;
}

static int rename_path(struct nfs_context *nfs, const char *from, const char *to)
{
    _cleanup_(place_done) struct place p = {0};
    int r = to ? place_parse(to, &p) : -EINVAL;
    return r < 0 ? r : ASK(nfs, NULL, 0, NULL, nfs_rename_async, from, p.path);
}

static int link_path(struct nfs_context *nfs, const char *from, const char *to)
{
    _cleanup_(place_done) struct place p = {0};
    int r = to ? place_parse(to, &p) : -EINVAL;
    return r < 0 ? r : ASK(nfs, NULL, 0, NULL, nfs_link_async, from, p.path);
}

static int tool_on(struct nfs_context *nfs, const char *verb, const char *path, const char *more,
                   json_t **ret)
{
    if (strcmp(verb, "list") == 0)
        return list(nfs, path, ret);
    if (strcmp(verb, "stat") == 0)
        return stat_path(nfs, path, ret);
    if (strcmp(verb, "space") == 0)
        return space(nfs, path, ret);
    *ret = json_object();
    if (strcmp(verb, "rename") == 0)
        return rename_path(nfs, path, more);
    if (strcmp(verb, "link") == 0)
        return link_path(nfs, path, more);
    if (strcmp(verb, "unlink") == 0)
        return ASK(nfs, NULL, 0, NULL, nfs_unlink_async, path);
    if (strcmp(verb, "mkdir") == 0)
        return ASK(nfs, NULL, 0, NULL, nfs_mkdir_async, path);
    if (strcmp(verb, "rmdir") == 0)
        return ASK(nfs, NULL, 0, NULL, nfs_rmdir_async, path);
    return -ENOTSUP;
}

/* Whether somebody speaks the mount protocol there is all that a failure tells. */
static int list_exports(const char *url, json_t **ret)
{
    _cleanup_(freep) char *server = mem_strndup(url + 6, strcspn(url + 6, "/"));
    struct exportnode *all = mount_getexports(server);
    if (!all)
        return -EHOSTUNREACH;
    json_t *exports = json_array();
    for (struct exportnode *e = all; e; e = e->ex_next) {
        json_t *path = json_string(e->ex_dir);
        if (path)
            (void)json_array_append_new(exports, path);
    }
    mount_free_export_list(all);
    *ret = json_pack("{s:o}", "exports", exports);
    return 0;
}

static int tool(const char *verb, const char *url, const char *more, json_t **ret)
{
    _cleanup_(place_done) struct place p = {0};
    struct nfs_context *nfs = NULL;
    if (strncmp(url, "nfs://", 6) == 0 && strcmp(verb, "exports") == 0)
        return list_exports(url, ret);
    int r = place_parse(url, &p);
    if (r == 0)
        r = connect_to(&p, &nfs);
    if (r < 0)
        return r;
    r = tool_on(nfs, verb, p.path, more, ret);
    nfs_destroy_context(nfs);
    return r;
}

static int remove_file(const char *url)
{
    json_t *nothing = NULL;
    int r = tool("unlink", url, NULL, &nothing);
    json_decref(nothing);
    return r;
}

const struct remote_module remote_module = {
    .scheme = "nfs",
    .kind = {.prefix = "nfs://", .open = open_file, .create = create_file, .remove = remove_file},
    .start = wire_start,
    .tool = tool,
};
