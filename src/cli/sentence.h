/* sentence.h: what an error code of the API says to a human. Pure; any thread. */
#pragma once

/* A sentence for the code; NULL if there is none. */
const char *sentence_of(const char *code);
/* What an administrator may do about it, without full stop; NULL if nothing holds always. */
const char *remedy_of(const char *code);
