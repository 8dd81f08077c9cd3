/*
 * rules.h: what a member of a request may look like.
 *
 * Each rule is a pure, total function of a string: NULL if it is fine, else a complaint that names
 * the rule and never repeats the value. The rules say what is well-formed; whether a device is
 * free, a folder ours or a plugin trusted is asked of the kernel by the verbs.
 */
#pragma once

typedef const char *(*rule_fn)(const char *text);

/* One such path, or at most 8 with commas between them. */
const char *rule_devices(const char *text);
const char *rule_device(const char *text);   /* a canonical path below /dev/ */
const char *rule_folder(const char *text);   /* a canonical absolute path */
const char *rule_label(const char *text);    /* of an ext4 file system: at most 16 bytes */
const char *rule_group(const char *text);    /* VG_XenStorage-<uuid> */
const char *rule_volume(const char *text);   /* of such a group */
const char *rule_tap(const char *text);      /* cairn0, tap5.1, vif5.1 */
const char *rule_user(const char *text);     /* also DOMAIN\name and name@domain */
const char *rule_password(const char *text); /* at most 1024 bytes; may be empty */
const char *rule_plugin(const char *text);   /* one name in a folder, no path */
const char *rule_argument(const char *text); /* fits into one word of a command line */
const char *rule_address(const char *text);  /* IPv4 or IPv6 in digits */
const char *rule_hostname(const char *text); /* labels with dots, at most 64 bytes */
const char *rule_zone(const char *text);     /* Europe/Paris: a path below the zone folder */
const char *rule_server(const char *text);   /* a host name or an address, or nothing */
const char *rule_servers(const char *text);  /* several, with a blank between two; or nothing */
const char *rule_service(const char *text);  /* of a firewall: http, https, ssh */
const char *rule_switch(const char *text);   /* enabled, disabled */
const char *rule_power(const char *text);    /* poweroff, reboot */
const char *rule_any(const char *text);      /* the size of the request is the limit */
