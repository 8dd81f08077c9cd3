/* options.c: see options.h. */
#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "password.h"

static const char usage[] =
    "usage: cairnd [--config FILE] [--development FOLDER] [-o KEY=VALUE]… [--check]\n"
    "       cairnd --hash-password < PASSWORD\n"
    "\n"
    "  -c, --config FILE         settings; default " CAIRN_CONF_DIR "/cairn.conf if there\n"
    "  -d, --development FOLDER  keep everything under FOLDER; no root needed\n"
    "  -o, --option KEY=VALUE    one setting, wins over the file\n"
    "      --check               print the settings in force, check them, start nothing\n"
    "      --hash-password       print the hash of a password for a users file\n"
    "      --version, --help\n"
    "\n"
    "Runs in the foreground, logs on stderr. See cairnd(8) and cairn.conf(5).\n";

enum { OPT_CHECK = 256, OPT_HASH, OPT_VERSION, OPT_HELP };

struct err *options_read(struct config *c, int argc, char **argv, enum options_mode *mode)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"development", required_argument, NULL, 'd'},
        {"option", required_argument, NULL, 'o'},
        {"check", no_argument, NULL, OPT_CHECK},
        {"hash-password", no_argument, NULL, OPT_HASH},
        {"version", no_argument, NULL, OPT_VERSION},
        {"help", no_argument, NULL, OPT_HELP},
        {0},
    };
    bool file_given = false;
    *mode = OPTIONS_RUN;
    /* The folder and the file first: single settings win wherever they stand. */
    for (int pass = 0; pass < 2; pass++) {
        optind = 1;
        for (int o; (o = getopt_long(argc, argv, "c:d:o:", options, NULL)) != -1;) {
            if (o == '?')
                exit(2);
            if (o == 'd' && pass == 0)
                TRY(config_development(c, optarg));
            else if (o == 'c' && pass == 0)
                TRY(config_read(c, optarg, false));
            else if (o == 'o' && pass == 1)
                TRY(config_set(c, optarg));
            else if (o == OPT_CHECK)
                *mode = OPTIONS_CHECK;
            else if (o == OPT_HASH)
                exit(password_hash_main());
            else if (o == OPT_VERSION || o == OPT_HELP)
                exit(fputs(o == OPT_HELP ? usage : "cairnd " CAIRN_VERSION "\n", stdout) < 0);
            file_given = file_given || o == 'c' || o == 'd';
        }
        if (pass == 0 && !file_given)
            TRY(config_read(c, CAIRN_CONF_DIR "/cairn.conf", true));
    }
    if (optind < argc) {
        fprintf(stderr, "cairnd: what is '%s'?\n%s", argv[optind], usage);
        exit(2);
    }
    return config_check(c);
}
