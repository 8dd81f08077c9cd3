/* backend.c: the commands' calls go to the API layer in process; see cli.h. */
#include "api/api.h"
#include "cli/cli.h"

static struct err *call(void *arg, const char *session, const char *message,
                        const struct val *params, struct val **ret)
{
    return api_call(arg, session, message, params, ret);
}

static struct err *rows(void *arg, const char *session, const char *message,
                        const struct val *params, struct api_rows *ret)
{
    return api_call_rows(arg, session, message, params, ret);
}

static struct err *login(void *arg, const struct api_peer *peer, const char *user,
                         const char *password, const char **ret_session)
{
    struct api_peer stranger = {.trusted = false, .address = peer->address};
    /* Who names a user is checked as that user, also on the local socket. */
    return api_login(arg, *user ? &stranger : peer, user, password, "cli", ret_session);
}

static void logout(void *arg, const char *session)
{
    err_free(api_call(arg, session, "session.logout", NULL, NULL));
}

static struct err *check(void *arg, const char *session)
{
    struct api_session found = {0};
    struct err *e = api_authenticate(arg, session, &found);
    api_session_done(&found);
    return e;
}

struct cli_backend cli_backend_api(struct api *api)
{
    return (struct cli_backend){
        .arg = api,
        .call = call,
        .rows = rows,
        .login = login,
        .logout = logout,
        .check = check,
    };
}
