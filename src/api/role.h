/* role.h: the messages of class role that are no getters (native.c). Private to api/. */
#pragma once

#include "api/call.h"

void role_get_permissions(struct call *c);
void role_get_permissions_name_label(struct call *c);
void role_get_by_permission(struct call *c);
void role_get_by_permission_name_label(struct call *c);
