/* log.c: see log.h. */
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_MODULES   64
#define LINE_MAX_SIZE 4096
#define TAIL_SIZE     (256u << 10)

static const char *const names[] = {"err", "warn", "info", "debug"};

static struct {
    pthread_mutex_t lock; /* leaf: guards the table and the sink */
    struct {
        char name[24];
        enum log_level level;
    } modules[MAX_MODULES];
    unsigned n;
    log_sink sink;
    void *arg;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* A ring of what was written last. */
static struct {
    pthread_mutex_t lock; /* leaf */
    char bytes[TAIL_SIZE];
    size_t at; /* of the next byte, counted from the first line on */
} tail = {.lock = PTHREAD_MUTEX_INITIALIZER};

static atomic_int default_level = LOG_INFO;
static atomic_bool has_modules;
static _Thread_local char context[256];

bool log_on(enum log_level level, const char *module)
{
    if (!atomic_load_explicit(&has_modules, memory_order_relaxed))
        return level <= (enum log_level)atomic_load_explicit(&default_level, memory_order_relaxed);
    enum log_level limit = (enum log_level)atomic_load(&default_level);
    pthread_mutex_lock(&state.lock);
    for (unsigned i = 0; i < state.n; i++)
        if (strcmp(state.modules[i].name, module) == 0)
            limit = state.modules[i].level;
    pthread_mutex_unlock(&state.lock);
    return level <= limit;
}

void log_set_level(const char *module, enum log_level level)
{
    if (!module) {
        atomic_store(&default_level, (int)level);
        return;
    }
    pthread_mutex_lock(&state.lock);
    unsigned i = 0;
    while (i < state.n && strcmp(state.modules[i].name, module) != 0)
        i++;
    if (i < MAX_MODULES) {
        snprintf(state.modules[i].name, sizeof(state.modules[i].name), "%s", module);
        state.modules[i].level = level;
        if (i == state.n)
            state.n++;
    }
    pthread_mutex_unlock(&state.lock);
    atomic_store(&has_modules, true);
}

int log_parse_level(const char *name, enum log_level *ret)
{
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(names[i], name) != 0)
            continue;
        *ret = (enum log_level)i;
        return 0;
    }
    return -EINVAL;
}

void log_ctx(const char *fields)
{
    snprintf(context, sizeof(context), "%s", fields ? fields : "");
}

void log_set_sink(log_sink sink, void *arg)
{
    pthread_mutex_lock(&state.lock);
    state.sink = sink;
    state.arg = arg;
    pthread_mutex_unlock(&state.lock);
}

/* A line must stay a line, whatever the values hold. */
static void flatten(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            *s = ' ';
}

static int stamp(char *out, size_t size)
{
    struct timespec ts;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    char day[32];
    strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
    return snprintf(out, size, "%s.%03ldZ", day, ts.tv_nsec / 1000000);
}

static void remember(const char *line, size_t size)
{
    pthread_mutex_lock(&tail.lock);
    for (size_t i = 0; i < size; i++)
        tail.bytes[(tail.at + i) % TAIL_SIZE] = line[i];
    tail.at += size;
    pthread_mutex_unlock(&tail.lock);
}

void log_tail(struct buf *out)
{
    pthread_mutex_lock(&tail.lock);
    size_t i = tail.at > TAIL_SIZE ? tail.at - TAIL_SIZE : 0;
    if (i > 0) /* the oldest line is cut */
        while (i < tail.at && tail.bytes[i++ % TAIL_SIZE] != '\n')
            ;
    for (; i < tail.at; i++)
        buf_putc(out, tail.bytes[i % TAIL_SIZE]);
    pthread_mutex_unlock(&tail.lock);
}

void log_line(enum log_level level, const char *module, const char *fmt, ...)
{
    char line[LINE_MAX_SIZE];
    size_t at = (size_t)stamp(line, sizeof(line));
    at += (size_t)snprintf(line + at, sizeof(line) - at, " %s %s %s%s", names[level], module,
                           context, *context ? " " : "");
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line + at, sizeof(line) - at - 1, fmt, ap);
    va_end(ap);
    flatten(line);
    at = strlen(line);
    line[at] = '\n';
    remember(line, at + 1);
    line[at] = '\0';
    pthread_mutex_lock(&state.lock);
    log_sink sink = state.sink;
    void *arg = state.arg;
    pthread_mutex_unlock(&state.lock);
    if (sink) {
        sink(level, line, arg);
        return;
    }
    size_t n = strlen(line);
    line[n++] = '\n';
    if (write(STDERR_FILENO, line, n) < 0)
        return; /* nobody is left to tell */
}
