/*
 * fault_ctl.c: the control command `fault`, for tests that break a running daemon; see fault.h.
 * On the loop of the control socket.
 */
#include "base/str.h"
#include "loop/ctl.h"
#include "task/fault.h"

#define USAGE "[fail N | die N | clear | hold KIND/STEP/before|after | release | held]"

static void show(struct buf *out)
{
    buf_printf(out, "points %u marks %u struck %s\n", fault_count(), fault_count_marks(),
               *fault_last() ? fault_last() : "none");
}

static struct err *arm(const char *how, const char *number)
{
    uint64_t n = 0;
    if (str_u64(view_of(number), 1, 100000, &n) < 0)
        return err_internal("'%s' is no number of a fault point", number);
    fault_clear();
    if (str_eq(how, "fail"))
        fault_fail_nth((unsigned)n);
    else
        fault_die_nth((unsigned)n);
    return NULL;
}

/* Names of steps have blanks, so the name is all words from the third on. */
static void hold(unsigned argc, const char *const *argv)
{
    _cleanup_(buf_done) struct buf name;
    buf_init(&name, 256);
    for (unsigned i = 2; i < argc; i++)
        buf_printf(&name, "%s%s", i > 2 ? " " : "", argv[i]);
    fault_hold(buf_str(&name));
}

static struct err *fault(void *arg, unsigned argc, const char *const *argv, struct buf *out)
{
    (void)arg;
    if (argc == 3 && (str_eq(argv[1], "fail") || str_eq(argv[1], "die")))
        return arm(argv[1], argv[2]);
    if (argc == 2 && str_eq(argv[1], "held")) {
        buf_puts(out, fault_is_reached() ? "reached\n" : "not reached\n");
        return NULL;
    }
    if (argc == 2 && str_eq(argv[1], "clear"))
        fault_clear();
    else if (argc == 2 && str_eq(argv[1], "release"))
        fault_hold(NULL);
    else if (argc > 2 && str_eq(argv[1], "hold"))
        hold(argc, argv);
    else if (argc > 1)
        return err_internal("usage: fault " USAGE);
    show(out);
    return NULL;
}

void fault_control(void)
{
    ctl_register("fault", USAGE, fault, NULL);
}
