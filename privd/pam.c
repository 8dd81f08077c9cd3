/*
 * pam.c: is this the password of an account of the machine?
 *
 * Called in a worker, so that a module that hangs or crashes ends with the worker. PAM's service
 * file says who may enter: both its auth and its account part have to agree. No session is opened.
 * Memory with the password ends with the process, which makes no core dumps.
 */
#include <security/pam_appl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "privd/verbs.h"

struct login {
    const char *user, *password;
};

static char *answer_to(int style, const struct login *l)
{
    switch (style) {
    case PAM_PROMPT_ECHO_OFF:
        return mem_strdup(l->password);
    case PAM_PROMPT_ECHO_ON:
        return mem_strdup(l->user);
    default:
        return NULL; /* PAM talks, nobody listens */
    }
}

/* PAM frees the answers. */
static int converse(int n, const struct pam_message **messages, struct pam_response **ret,
                    void *arg)
{
    if (n <= 0 || n > PAM_MAX_NUM_MSG)
        return PAM_CONV_ERR;
    struct pam_response *answers = mem_new_n(struct pam_response, (size_t)n);
    for (int i = 0; i < n; i++)
        answers[i].resp = answer_to(messages[i]->msg_style, arg);
    *ret = answers;
    return PAM_SUCCESS;
}

/* What says something about the machine rather than about the account. */
static bool is_broken(int result)
{
    static const int broken[] = {
        PAM_OPEN_ERR, PAM_SYMBOL_ERR, PAM_SERVICE_ERR,      PAM_SYSTEM_ERR,     PAM_BUF_ERR,
        PAM_CONV_ERR, PAM_ABORT,      PAM_AUTHINFO_UNAVAIL, PAM_MODULE_UNKNOWN, PAM_BAD_ITEM};
    for (size_t i = 0; i < ARRAY_LEN(broken); i++)
        if (broken[i] == result)
            return true;
    return false;
}

static int start(const struct place *p, const char *user, const struct pam_conv *conversation,
                 pam_handle_t **ret)
{
    return p->pam_confdir
               ? pam_start_confdir(p->pam_service, user, conversation, p->pam_confdir, ret)
               : pam_start(p->pam_service, user, conversation, ret);
}

struct err *verb_authenticate(const struct place *p, const struct request *r, struct val *answer,
                              int *ret_fd)
{
    (void)ret_fd;
    if (!p->pam_service)
        return err_internal("no PAM service is configured");
    struct login l = {request_str(r, "user"), request_str(r, "password")};
    struct pam_conv conversation = {.conv = converse, .appdata_ptr = &l};
    pam_handle_t *pam = NULL;
    int result = start(p, l.user, &conversation, &pam);
    if (result != PAM_SUCCESS)
        return err_internal("PAM does not start for the service '%s'", p->pam_service);
    result = pam_authenticate(pam, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
    if (result == PAM_SUCCESS)
        result = pam_acct_mgmt(pam, PAM_SILENT);
    struct err *e =
        is_broken(result) ? err_internal("PAM cannot tell: %s", pam_strerror(pam, result)) : NULL;
    (void)pam_end(pam, result);
    TRY(e);
    val_put_bool(answer, "accepted", result == PAM_SUCCESS);
    return NULL;
}
