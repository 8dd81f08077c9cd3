/*
 * auth_file.c: accounts in a file, for development runs.
 *
 * Each check reads the file anew, on an auth thread. An unknown name costs as much time as a wrong
 * password: a hash that nothing matches is computed for it.
 */
#include <crypt.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>

#include "api/auth.h"
#include "base/buf.h"
#include "base/fd.h"
#include "base/str.h"
#include "gen/error.h"
#include "state/desc.h"

#define FILE_MAX (64 << 10)

static bool hash_matches(const char *hash, const char *password)
{
    _cleanup_(freep) struct crypt_data *data = mem_new(struct crypt_data);
    const char *got = crypt_rn(password, hash, data, sizeof(*data));
    bool same = got && strlen(got) == strlen(hash) && CRYPTO_memcmp(got, hash, strlen(hash)) == 0;
    OPENSSL_cleanse(data, sizeof(*data));
    return same;
}

static void waste_time(const char *password)
{
    struct crypt_data *data = mem_new(struct crypt_data);
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    if (crypt_gensalt_rn("$y$", 0, NULL, 0, setting, sizeof(setting)))
        (void)crypt_rn(password, setting, data, sizeof(*data));
    free(data);
}

/* The roles of a line's third field: one role and all below it; "subject": what the subject of
 * that user gives. */
static bool role_facts(struct view name, struct auth_facts *ret)
{
    _cleanup_(freep) char *text = view_dup(view_trim(name));
    *ret = (struct auth_facts){0};
    if (str_eq(text, "subject"))
        return true;
    enum role r = desc_role_by_name(text);
    if (r >= ROLE_N)
        return false;
    *ret = (struct auth_facts){.roles = (2u << r) - 1};
    return true;
}

static bool check_line(struct view line, const char *password, struct auth_facts *ret)
{
    struct view hash;
    bool has_role = view_split(&line, ':', &hash);
    _cleanup_(freep) char *text = view_dup(hash);
    if (!hash_matches(text, password))
        return false;
    *ret = (struct auth_facts){.superuser = true, .roles = (1u << ROLE_N) - 1};
    return !has_role || role_facts(line, ret);
}

static struct err *file_check(void *arg, const char *user, const char *password,
                              struct auth_facts *ret)
{
    _cleanup_(buf_done) struct buf b;
    buf_init(&b, FILE_MAX);
    int r = fd_read_file(arg, FILE_MAX, &b);
    if (r < 0)
        return err_errno(-r, "read the accounts of '%s'", (const char *)arg);
    struct view rest = view_of(buf_str(&b)), line, name;
    bool more = true;
    while (more) {
        more = view_split(&rest, '\n', &line);
        if (view_split(&line, ':', &name) && view_eq(name, user))
            return check_line(line, password, ret) ? NULL : auth_refused(user);
    }
    waste_time(password);
    return auth_refused(user);
}

/* The hash of a new password with the library's preferred method. */
static struct err *make_hash(const char *password, char **ret)
{
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    _cleanup_(freep) struct crypt_data *data = mem_new(struct crypt_data);
    if (!crypt_gensalt_rn("$y$", 0, NULL, 0, setting, sizeof(setting)))
        return err_errno(errno, "cannot make a salt");
    const char *hash = crypt_rn(password, setting, data, sizeof(*data));
    if (!hash)
        return err_errno(errno, "cannot make a hash");
    *ret = mem_strdup(hash);
    OPENSSL_cleanse(data, sizeof(*data));
    return NULL;
}

/* Copies the lines; in the user's the hash is another. False if there is no such line. */
static bool replace_hash(struct view rest, const char *user, const char *hash, struct buf *ret)
{
    bool found = false, more = true;
    while (more) {
        struct view line, name, old;
        more = view_split(&rest, '\n', &line);
        struct view fields = line;
        if (view_split(&fields, ':', &name) && view_eq(name, user)) {
            bool has_role = view_split(&fields, ':', &old);
            buf_printf(ret, "%s:%s%s", user, hash, has_role ? ":" : "");
            buf_put(ret, fields.p, fields.size);
            found = true;
        } else {
            buf_put(ret, line.p, line.size);
        }
        if (more)
            buf_putc(ret, '\n');
    }
    return found;
}

static struct err *file_change(void *arg, const char *user, const char *password)
{
    _cleanup_(buf_done) struct buf b, fresh;
    _cleanup_(freep) char *hash = NULL;
    buf_init(&b, FILE_MAX);
    buf_init(&fresh, FILE_MAX);
    if (!*password)
        return err_CHANGE_PASSWORD_REJECTED("the new password is empty");
    int r = fd_read_file(arg, FILE_MAX, &b);
    if (r < 0)
        return err_errno(-r, "read the accounts of '%s'", (const char *)arg);
    TRY(make_hash(password, &hash));
    if (!replace_hash(view_of(buf_str(&b)), user, hash, &fresh) || !buf_ok(&fresh))
        return err_CHANGE_PASSWORD_REJECTED("there is no such account");
    r = fd_replace_file(arg, buf_str(&fresh), fresh.size, 0600);
    return r < 0 ? err_errno(-r, "write the accounts to '%s'", (const char *)arg) : NULL;
}

static void file_free(void *arg)
{
    free(arg);
}

struct auth *auth_new_file(const char *path)
{
    static const struct auth_ops ops = {
        .check = file_check, .change = file_change, .free = file_free};
    return auth_new(&ops, mem_strdup(path));
}
