/* cmd_tables.h: the tables of hand-written commands, one a family of commands; cmd_find_impl()
 * looks through them. A new table is added here and to the list in cmd_help.c, a new command in its
 * table alone. */
#pragma once

#include "cli/cmd.h"

extern const struct cmd_impl cmd_vm_table[];
extern const struct cmd_impl cmd_vm_copy_table[];
extern const struct cmd_impl cmd_install_table[];
extern const struct cmd_impl cmd_disk_table[];
extern const struct cmd_impl cmd_cd_table[];
extern const struct cmd_impl cmd_storage_table[];
extern const struct cmd_impl cmd_host_table[];
extern const struct cmd_impl cmd_license_table[];
extern const struct cmd_impl cmd_files_table[];
extern const struct cmd_impl cmd_event_table[];
extern const struct cmd_impl cmd_message_table[];
extern const struct cmd_impl cmd_access_table[];
extern const struct cmd_impl cmd_limit_table[];
extern const struct cmd_impl cmd_transfer_table[];
extern const struct cmd_impl cmd_console_table[];
extern const struct cmd_impl cmd_diagnose_table[];
extern const struct cmd_impl cmd_help_table[];
