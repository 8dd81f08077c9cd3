/* subject.h: the messages of class subject that reach into sessions (native.c). Private to api/. */
#pragma once

#include "api/call.h"

void subject_change_roles(struct call *c); /* add_to_roles and remove_from_roles */
void subject_get_permissions_name_label(struct call *c);
