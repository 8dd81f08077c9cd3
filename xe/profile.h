/* profile.h: measures the device under a repository and keeps what is found. For cairnctl. */
#pragma once

/* Runs cairn-diskd's sweep where the repository is, prints its tables, and has the daemon at
 * `socket` keep how large requests should be and how much should be in flight. The device is
 * busy for so many seconds. 0, or 1 after saying what is wrong. */
int profile_run(const char *socket, const char *sr_uuid, const char *seconds);
