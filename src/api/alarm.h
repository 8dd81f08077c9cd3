/*
 * alarm.h: the API layer's own alerts about this host (class message). Any thread, never waits.
 * Private to api/.
 */
#pragma once

struct api;

/* `name` is a constant; priority 1 is the worst, 5 the least. */
void alarm_raise(const struct api *api, const char *name, int priority, const char *text);
