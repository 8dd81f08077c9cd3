/* doctor.h: does this machine have what a host needs? For cairnctl. */
#pragma once

/* Prints a line for each check; 0 if nothing that is needed is missing, else 1. `socket` is the
 * control socket of a daemon that may run. */
int doctor_run(const char *socket);
