/* password.c: see password.h. */
#include "password.h"

#include <crypt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

int password_hash_main(void)
{
    char password[CRYPT_MAX_PASSPHRASE_SIZE], salt[CRYPT_GENSALT_OUTPUT_SIZE];
    if (!fgets(password, sizeof(password), stdin)) {
        fputs("cairnd: no password on standard input\n", stderr);
        return 1;
    }
    password[strcspn(password, "\n")] = '\0';
    struct crypt_data *data = mem_new(struct crypt_data);
    char *hash = NULL;
    if (crypt_gensalt_rn("$y$", 0, NULL, 0, salt, sizeof(salt)))
        hash = crypt_r(password, salt, data);
    bool ok = hash && hash[0] != '*';
    if (ok)
        puts(hash);
    else
        fputs("cairnd: this machine's crypt library has no yescrypt\n", stderr);
    explicit_bzero(password, sizeof(password));
    free(data);
    return ok ? 0 : 1;
}
