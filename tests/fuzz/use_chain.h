/* use_chain.h: what fuzzers of images do with a chain that could be opened. */
#pragma once

#include "disk/chain.h"

/* Every kind of request at its beginning, its middle and its end; aborts if one is not answered. */
void use_chain(struct chain *chain);
