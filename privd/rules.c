/* rules.c: see rules.h. Called by request.c, in a worker. */
#include "privd/rules.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <string.h>

#define PATH_SIZE_MAX     4095
#define DEVICES_MAX       8
#define DEVICE_SIZE_MAX   255
#define NAME_SIZE_MAX     128
#define USER_SIZE_MAX     256
#define PASSWORD_SIZE_MAX 1024
#define LABEL_SIZE_MAX    16
#define TAP_SIZE_MAX      15                /* IFNAMSIZ less the NUL */
#define ARGUMENT_SIZE_MAX ((128 << 10) - 1) /* the kernel's limit for one word */

#define DIGITS            "0123456789"
#define LETTERS           "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define NAME_CHARS        LETTERS DIGITS "._-"
#define HOSTNAME_SIZE_MAX 64
#define SERVERS_SIZE_MAX  1024

static bool is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

static bool has_control(const char *text)
{
    while (*text)
        if (is_control(*text++))
            return true;
    return false;
}

/* No empty component, "." or ".." anywhere, and no slash at the end. */
static bool is_canonical(const char *path)
{
    if (*path != '/' || strlen(path) > PATH_SIZE_MAX)
        return false;
    while (*path == '/') {
        size_t size = strcspn(++path, "/");
        if (size == 0 || (size == 1 && path[0] == '.') ||
            (size == 2 && path[0] == '.' && path[1] == '.'))
            return false;
        path += size;
    }
    return true;
}

const char *rule_folder(const char *text)
{
    if (!is_canonical(text))
        return "must be an absolute path without '.', '..' and doubled slashes";
    return has_control(text) ? "must not hold control characters" : NULL;
}

const char *rule_device(const char *text)
{
    const char *complaint = rule_folder(text);
    if (complaint)
        return complaint;
    return strncmp(text, "/dev/", 5) == 0 ? NULL : "must be a path below /dev/";
}

const char *rule_devices(const char *text)
{
    char one[DEVICE_SIZE_MAX + 1];
    for (unsigned n = 0; n < DEVICES_MAX; n++) {
        size_t size = strcspn(text, ",");
        if (size > DEVICE_SIZE_MAX)
            return "must be shorter";
        memcpy(one, text, size);
        one[size] = '\0';
        const char *complaint = rule_device(one);
        if (complaint || !text[size])
            return complaint;
        text += size + 1;
    }
    return "must be at most 8 devices";
}

const char *rule_label(const char *text)
{
    if (!*text || strlen(text) > LABEL_SIZE_MAX)
        return "must have 1 to 16 bytes";
    if (text[strspn(text, NAME_CHARS)] || *text == '-')
        return "must be letters, digits, '.', '_' and '-', and not begin with '-'";
    return NULL;
}

const char *rule_group(const char *text)
{
    static const char prefix[] = "VG_XenStorage-";
    size_t n = strlen(prefix);
    if (strncmp(text, prefix, n) != 0 || strlen(text) != n + 36 ||
        text[n + strspn(text + n, DIGITS "abcdef-")])
        return "must be 'VG_XenStorage-' and a uuid";
    return NULL;
}

const char *rule_volume(const char *text)
{
    if (!*text || strlen(text) > NAME_SIZE_MAX - 1 || *text == '-' || *text == '.')
        return "must have 1 to 127 bytes, and not begin with '-' or '.'";
    return text[strspn(text, NAME_CHARS "+")] ? "must be letters, digits and '+._-'" : NULL;
}

const char *rule_tap(const char *text)
{
    static const char *const prefixes[] = {"cairn", "tap", "vif"};
    for (unsigned i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        size_t size = strlen(prefixes[i]);
        if (strncmp(text, prefixes[i], size) != 0)
            continue;
        const char *rest = text + size;
        size_t whole = strspn(rest, DIGITS);
        const char *part = rest[whole] == '.' ? rest + whole + 1 : NULL;
        size_t end = part ? (size_t)(part - text) + strspn(part, DIGITS) : size + whole;
        if (whole && (!part || *part) && !text[end] && end <= TAP_SIZE_MAX)
            return NULL;
    }
    return "must be 'cairn', 'tap' or 'vif' and a number or two with a dot, at most 15 bytes";
}

const char *rule_user(const char *text)
{
    size_t size = strlen(text);
    if (!size || size > USER_SIZE_MAX)
        return "must have 1 to 256 bytes";
    if (has_control(text) || strpbrk(text, ":/") || *text == '-')
        return "must not hold control characters, ':' or '/', and not begin with '-'";
    return NULL;
}

const char *rule_password(const char *text)
{
    return strlen(text) > PASSWORD_SIZE_MAX ? "must have at most 1024 bytes" : NULL;
}

const char *rule_plugin(const char *text)
{
    size_t size = strlen(text);
    if (!size || size > NAME_SIZE_MAX)
        return "must have 1 to 128 bytes";
    if (text[strspn(text, NAME_CHARS)] || *text == '.' || *text == '-')
        return "must be letters, digits, '.', '_' and '-', and begin with none of '.' and '-'";
    return NULL;
}

const char *rule_argument(const char *text)
{
    return strlen(text) > ARGUMENT_SIZE_MAX ? "must be shorter than 128 KiB" : NULL;
}

const char *rule_address(const char *text)
{
    unsigned char room[sizeof(struct in6_addr)];
    if (inet_pton(AF_INET, text, room) == 1 || inet_pton(AF_INET6, text, room) == 1)
        return NULL;
    return "must be an IPv4 or IPv6 address in digits";
}

const char *rule_hostname(const char *text)
{
    size_t size = strlen(text);
    if (!size || size > HOSTNAME_SIZE_MAX)
        return "must have 1 to 64 bytes";
    if (text[strspn(text, LETTERS DIGITS ".-")] || strchr(".-", text[0]) ||
        strchr(".-", text[size - 1]) || strstr(text, ".."))
        return "must be letters, digits, '-' and single dots, and begin and end with none of these";
    return NULL;
}

const char *rule_zone(const char *text)
{
    size_t size = strlen(text);
    if (!size || size > NAME_SIZE_MAX)
        return "must have 1 to 128 bytes";
    if (text[strspn(text, LETTERS DIGITS "/_+-")] || strchr("/-", *text))
        return "must be letters, digits, '/', '_', '+' and '-', and begin with none of '/' and '-'";
    return NULL;
}

const char *rule_servers(const char *text)
{
    if (strlen(text) > SERVERS_SIZE_MAX)
        return "must have at most 1024 bytes";
    if (text[strspn(text, LETTERS DIGITS ".:- ")])
        return "must be host names or addresses with a blank between two";
    for (const char *p = text; *p; p += strcspn(p, " ")) {
        p += p != text;
        if (strchr(" .-", *p))
            return "must not have a name that begins with '.' or '-', nor blanks around it";
    }
    return NULL;
}

const char *rule_server(const char *text)
{
    return strchr(text, ' ') ? "must be one host name or address" : rule_servers(text);
}

const char *rule_service(const char *text)
{
    static const char *const known[] = {"http", "https", "ssh"};
    for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(known[i], text) == 0)
            return NULL;
    return "must be 'http', 'https' or 'ssh'";
}

const char *rule_switch(const char *text)
{
    bool known = strcmp(text, "enabled") == 0 || strcmp(text, "disabled") == 0;
    return known ? NULL : "must be 'enabled' or 'disabled'";
}

const char *rule_power(const char *text)
{
    bool known = strcmp(text, "poweroff") == 0 || strcmp(text, "reboot") == 0;
    return known ? NULL : "must be 'poweroff' or 'reboot'";
}

const char *rule_any(const char *text)
{
    (void)text;
    return NULL;
}
