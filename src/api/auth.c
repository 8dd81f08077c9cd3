/*
 * auth.c: the two threads that check passwords, and what they remember.
 *
 * Logins come from loops and wait here; a thread asks the checker and calls back. Passwords live in
 * a job only and are wiped with it. The memory holds a keyed hash per account, never the password;
 * the key is made at start. One mutex guards queue and memory and is never held over a check.
 */
#include "api/auth.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <string.h>

#include "base/lock.h"
#include "base/str.h"
#include "gen/error.h"
#include "loop/loop.h"

#define AUTH_THREADS    2
#define AUTH_QUEUE_MAX  1024
#define AUTH_REMEMBERED 64
#define AUTH_MEMORY_US  (300 * USEC_PER_SEC)
#define MAC_SIZE        32

struct job {
    struct job *next;
    char *user;
    char *password; /* to be checked; NULL: not asked for */
    char *fresh;    /* to be set; NULL: only a check */
    auth_done_fn done;
    void *arg;
};

struct remembered {
    char *user; /* NULL: free */
    unsigned char mac[MAC_SIZE];
    usec_t until;
    struct auth_facts facts;
};

struct auth {
    const struct auth_ops *ops;
    void *arg;
    pthread_t threads[AUTH_THREADS];
    unsigned char key[32];
    struct mutex mutex; /* guards all below */
    pthread_cond_t work;
    struct job *first, **last;
    unsigned n_jobs;
    unsigned running, max; /* checks under way, and how many may be */
    bool ending;
    struct remembered memory[AUTH_REMEMBERED];
    unsigned next_slot;
};

static void *auth_thread(void *arg);

struct err *auth_refused(const char *user)
{
    const char *params[] = {user, "the name or the password is wrong"};
    return err_make_v("SESSION_AUTHENTICATION_FAILED", __FILE__, __LINE__, 2, params);
}

struct auth *auth_new(const struct auth_ops *ops, void *arg)
{
    struct auth *a = mem_new(struct auth);
    *a = (struct auth){.ops = ops, .arg = arg, .last = &a->first, .max = AUTH_THREADS};
    str_random(a->key, sizeof(a->key));
    mutex_init(&a->mutex, LOCK_LEAF);
    pthread_cond_init(&a->work, NULL);
    for (unsigned i = 0; i < AUTH_THREADS; i++)
        if (pthread_create(&a->threads[i], NULL, auth_thread, a) != 0)
            abort();
    return a;
}

void auth_free(struct auth *a)
{
    if (!a)
        return;
    mutex_lock(&a->mutex);
    a->ending = true;
    pthread_cond_broadcast(&a->work);
    mutex_unlock(&a->mutex);
    for (unsigned i = 0; i < AUTH_THREADS; i++)
        pthread_join(a->threads[i], NULL);
    auth_forget(a, NULL);
    if (a->ops->free)
        a->ops->free(a->arg);
    pthread_cond_destroy(&a->work);
    mutex_done(&a->mutex);
    OPENSSL_cleanse(a->key, sizeof(a->key));
    free(a);
}

static void password_mac(const struct auth *a, const char *user, const char *password,
                         unsigned char ret[MAC_SIZE])
{
    size_t n_user = strlen(user) + 1, n_password = strlen(password);
    unsigned char *text = mem_zalloc(1, n_user + n_password);
    memcpy(text, user, n_user);
    memcpy(text + n_user, password, n_password);
    unsigned n = MAC_SIZE;
    HMAC(EVP_sha256(), a->key, sizeof(a->key), text, n_user + n_password, ret, &n);
    OPENSSL_cleanse(text, n_user + n_password);
    free(text);
}

static void forget_slot(struct remembered *r)
{
    free(r->user);
    OPENSSL_cleanse(r, sizeof(*r));
}

static bool remembered(struct auth *a, const char *user, const char *password,
                       struct auth_facts *ret)
{
    unsigned char mac[MAC_SIZE];
    password_mac(a, user, password, mac);
    bool found = false;
    mutex_lock(&a->mutex);
    for (unsigned i = 0; i < AUTH_REMEMBERED && !found; i++) {
        const struct remembered *r = &a->memory[i];
        if (!r->user || !str_eq(r->user, user) || r->until < clock_now())
            continue;
        found = CRYPTO_memcmp(r->mac, mac, MAC_SIZE) == 0;
        if (found)
            *ret = r->facts;
    }
    mutex_unlock(&a->mutex);
    return found;
}

static void remember(struct auth *a, const struct job *j, const struct auth_facts *facts)
{
    struct remembered fresh = {
        .user = mem_strdup(j->user), .until = clock_now() + AUTH_MEMORY_US, .facts = *facts};
    password_mac(a, j->user, j->password, fresh.mac);
    auth_forget(a, j->user);
    mutex_lock(&a->mutex);
    struct remembered *slot = &a->memory[a->next_slot++ % AUTH_REMEMBERED];
    forget_slot(slot);
    *slot = fresh;
    mutex_unlock(&a->mutex);
}

void auth_forget(struct auth *a, const char *user)
{
    mutex_lock(&a->mutex);
    for (unsigned i = 0; i < AUTH_REMEMBERED; i++) {
        struct remembered *r = &a->memory[i];
        if (r->user && (!user || str_eq(r->user, user)))
            forget_slot(r);
    }
    mutex_unlock(&a->mutex);
}

static void wipe(char *secret)
{
    if (secret)
        OPENSSL_cleanse(secret, strlen(secret));
    free(secret);
}

static void job_free(struct job *j)
{
    wipe(j->password);
    wipe(j->fresh);
    free(j->user);
    free(j);
}

/* Takes the job over; one that finds no room ends here. */
static void submit(struct auth *a, struct job *j)
{
    mutex_lock(&a->mutex);
    bool full = a->n_jobs >= AUTH_QUEUE_MAX || a->ending;
    if (!full) {
        a->n_jobs++;
        *a->last = j;
        a->last = &j->next;
        pthread_cond_signal(&a->work);
    }
    mutex_unlock(&a->mutex);
    if (!full)
        return;
    j->done(j->arg, err_internal("too many logins wait for their password check"), NULL);
    job_free(j);
}

void auth_check_async(struct auth *a, const char *user, const char *password, auth_done_fn done,
                      void *arg)
{
    struct auth_facts facts;
    if (remembered(a, user, password, &facts)) {
        done(arg, NULL, &facts);
        return;
    }
    struct job *j = mem_new(struct job);
    *j = (struct job){
        .user = mem_strdup(user), .password = mem_strdup(password), .done = done, .arg = arg};
    submit(a, j);
}

void auth_change_async(struct auth *a, const char *user, const char *old, const char *password,
                       auth_done_fn done, void *arg)
{
    struct job *j = mem_new(struct job);
    *j = (struct job){.user = mem_strdup(user),
                      .password = old ? mem_strdup(old) : NULL,
                      .fresh = mem_strdup(password),
                      .done = done,
                      .arg = arg};
    submit(a, j);
}

static struct job *next_job(struct auth *a)
{
    mutex_lock(&a->mutex);
    while ((!a->first || a->running >= a->max) && !(a->ending && !a->first))
        cond_wait(&a->work, &a->mutex);
    struct job *j = a->first;
    if (j) {
        a->running++;
        a->first = j->next;
        a->n_jobs--;
        if (!a->first)
            a->last = &a->first;
    }
    mutex_unlock(&a->mutex);
    return j;
}

static struct err *do_job(struct auth *a, const struct job *j, struct auth_facts *facts)
{
    if (j->password)
        TRY(a->ops->check(a->arg, j->user, j->password, facts));
    if (!j->fresh) {
        remember(a, j, facts);
        return NULL;
    }
    if (!a->ops->change)
        return err_CHANGE_PASSWORD_REJECTED("passwords of this host are not changed here");
    TRY(a->ops->change(a->arg, j->user, j->fresh));
    auth_forget(a, j->user);
    return NULL;
}

static void end_job(struct auth *a)
{
    mutex_lock(&a->mutex);
    a->running--;
    pthread_cond_broadcast(&a->work);
    mutex_unlock(&a->mutex);
}

void auth_set_max(struct auth *a, unsigned n)
{
    mutex_lock(&a->mutex);
    a->max = n ? n : 1;
    pthread_cond_broadcast(&a->work);
    mutex_unlock(&a->mutex);
}

static void *auth_thread(void *arg)
{
    struct auth *a = arg;
    pthread_setname_np(pthread_self(), "auth");
    for (struct job *j = next_job(a); j; j = next_job(a)) {
        struct auth_facts facts = {0};
        struct err *e = do_job(a, j, &facts);
        j->done(j->arg, e, &facts);
        job_free(j);
        end_job(a);
    }
    return NULL;
}

struct waiter {
    struct mutex mutex;
    pthread_cond_t cond;
    bool done;
    struct err *e;
    struct auth_facts facts;
};

static void wake(void *arg, struct err *e, const struct auth_facts *facts)
{
    struct waiter *w = arg;
    mutex_lock(&w->mutex);
    w->done = true;
    w->e = e;
    if (!e)
        w->facts = *facts;
    pthread_cond_signal(&w->cond);
    mutex_unlock(&w->mutex);
}

struct err *auth_check(struct auth *a, const char *user, const char *password,
                       struct auth_facts *ret)
{
    struct waiter w = {.mutex = MUTEX_INIT(LOCK_LEAF), .cond = PTHREAD_COND_INITIALIZER};
    auth_check_async(a, user, password, wake, &w);
    mutex_lock(&w.mutex);
    while (!w.done)
        cond_wait(&w.cond, &w.mutex);
    mutex_unlock(&w.mutex);
    TRY(w.e);
    *ret = w.facts;
    return NULL;
}
