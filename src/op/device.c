/* device.c: xvda and its kin. Pure. */
#include <string.h>

#include "op/world.h"

void device_name(unsigned number, char *out, size_t size)
{
    char letters[8];
    size_t n = 0;
    for (unsigned left = number + 1; left > 0 && n < sizeof(letters); left = (left - 1) / 26)
        letters[n++] = (char)('a' + (left - 1) % 26);
    size_t at = 0;
    for (const char *p = "xvd"; *p && at + 1 < size; p++)
        out[at++] = *p;
    while (n > 0 && at + 1 < size)
        out[at++] = letters[--n];
    out[at] = '\0';
}

static bool letters_number(const char *s, unsigned *ret)
{
    unsigned number = 0;
    size_t n = strlen(s);
    if (n == 0 || n > 2)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < 'a' || s[i] > 'z')
            return false;
        number = number * 26 + (unsigned)(s[i] - 'a') + 1;
    }
    *ret = number - 1;
    return true;
}

bool device_number(const char *userdevice, unsigned *ret)
{
    uint64_t n;
    unsigned letter;
    if (str_u64(view_of(userdevice), 0, BOOT_DISKS_MAX - 1, &n) == 0) {
        *ret = (unsigned)n;
        return true;
    }
    bool named = str_starts(userdevice, "xvd") || str_starts(userdevice, "sd") ||
                 str_starts(userdevice, "hd");
    if (!named)
        return false;
    const char *letters = userdevice + (userdevice[0] == 'x' ? 3 : 2);
    if (!letters_number(letters, &letter) || letter >= BOOT_DISKS_MAX)
        return false;
    *ret = letter;
    return true;
}
