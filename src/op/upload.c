/* upload.c: see upload.h. */
#include "op/upload.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "op/world.h"

#define CONNECT_S 30L
#define STALL_S   60L

struct err *upload_check_url(const char *url)
{
    static const char *const schemes[] = {"http://", "https://", "ftp://"};
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++)
        if (str_starts(url, schemes[i]) && url[strlen(schemes[i])])
            return NULL;
    return err_INVALID_VALUE("url", url);
}

static size_t give(char *p, size_t size, size_t n, void *arg)
{
    ssize_t got = read(*(int *)arg, p, size * n);
    return got < 0 ? CURL_READFUNC_ABORT : (size_t)got;
}

/* The other side's words are not ours to store. */
static size_t ignore(char *p, size_t size, size_t n, void *arg)
{
    (void)p, (void)arg;
    return size * n;
}

static int watch(void *arg, curl_off_t all_in, curl_off_t in, curl_off_t all_out, curl_off_t out)
{
    (void)all_in, (void)in;
    if (all_out > 0)
        op_progress(arg, (double)out / (double)all_out);
    return op_is_cancelled(arg);
}

static void set_up(CURL *c, struct op *op, int *fd, off_t size, const char *url, char *error)
{
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https,ftp");
    curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE, (curl_off_t)size);
    curl_easy_setopt(c, CURLOPT_READFUNCTION, give);
    curl_easy_setopt(c, CURLOPT_READDATA, fd);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, ignore);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, watch);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, op);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, CONNECT_S);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, STALL_S);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, error);
}

static void curl_donep(CURL **c)
{
    curl_easy_cleanup(*c);
}

static void init_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

struct err *upload_fd(struct op *op, int fd, const char *url, const struct val *options)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    char error[CURL_ERROR_SIZE] = "";
    struct stat st;
    pthread_once(&once, init_curl);
    if (fstat(fd, &st) < 0 || lseek(fd, 0, SEEK_SET) < 0)
        return err_errno(errno, "cannot read what is to be sent");
    _cleanup_(curl_donep) CURL *c = curl_easy_init();
    const char *proxy = val_map_str(options, "http_proxy", "");
    set_up(c, op, &fd, st.st_size, url, error);
    if (*proxy)
        curl_easy_setopt(c, CURLOPT_PROXY, proxy);
    CURLcode r = curl_easy_perform(c);
    TRY(op_check(op));
    if (r == CURLE_OK)
        return NULL;
    return err_SYSTEM_STATUS_RETRIEVAL_FAILED(*error ? error : curl_easy_strerror(r));
}
