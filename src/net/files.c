/*
 * files.c: the folder of files behind GET /, for browsers. Runs on a stream thread, so it may read
 * disks. Nothing outside the folder is reached, whatever links and dots say (RESOLVE_BENEATH).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "net/net_impl.h"

static int open_below(int folder, const char *path)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    long fd = syscall(SYS_openat2, folder, *path ? path : ".", &how, sizeof(how));
    return fd < 0 ? -errno : (int)fd;
}

static const char *content_type(const char *path)
{
    static const char *const types[][2] = {
        {".html", "text/html; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},
        {".json", "application/json"},
        {".svg", "image/svg+xml"},
        {".png", "image/png"},
        {".ico", "image/x-icon"},
        {".woff2", "font/woff2"},
        {".txt", "text/plain; charset=utf-8"},
        {".xml", "text/xml"},
        {".wasm", "application/wasm"},
    };
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_ends(path, types[i][0]))
            return types[i][1];
    return "application/octet-stream";
}

/* Opens the file, of a folder its index.html; a hidden file is not there. */
static int open_file(const char *root, const char *path, const char **ret_type, off_t *ret_size)
{
    _cleanup_(fd_closep) int folder = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return -errno;
    while (*path == '/')
        path++;
    if (*path == '.' || strstr(path, "/."))
        return -ENOENT;
    _cleanup_(fd_closep) int fd = open_below(folder, path);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return fd < 0 ? fd : -errno;
    *ret_type = content_type(path);
    if (S_ISDIR(st.st_mode)) {
        int index = open_below(fd, "index.html");
        fd_close(fd);
        fd = index;
        *ret_type = content_type("index.html");
        if (fd < 0 || fstat(fd, &st) < 0)
            return fd < 0 ? fd : -errno;
    }
    if (!S_ISREG(st.st_mode))
        return -ENOENT;
    *ret_size = st.st_size;
    return fd_take(&fd);
}

/* A page runs nothing but our own files and speaks with nobody but this host. */
static const struct net_header guards[] = {
    {"Content-Security-Policy",
     "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
     "img-src 'self' data: blob:; connect-src 'self' ws: wss:; object-src 'none'; "
     "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"},
    {"X-Content-Type-Options", "nosniff"},
    {"Referrer-Policy", "no-referrer"},
};

void files_serve(void *arg, const struct net_request *req, struct net_stream *s)
{
    const struct net *n = arg;
    const char *type = NULL;
    off_t size = 0;
    _cleanup_(buf_done) struct buf out;
    _cleanup_(fd_closep) int fd = open_file(n->config.web_root, req->path, &type, &size);
    buf_init(&out, 4096);
    if (fd < 0) {
        net_stream_error(s, 404, "There is no such file");
        net_stream_close(s);
        return;
    }
    put_answer_head(&out, 200, size, false, type, str_ends(req->path, ".json"), guards,
                    ARRAY_LEN(guards));
    struct net_file file = {fd, 0, str_eq(req->method, "HEAD") ? 0 : size};
    if (file.size)
        (void)fd_take(&fd);
    net_stream_finish_file(s, &out, &file);
}
