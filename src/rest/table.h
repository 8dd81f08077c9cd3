/*
 * table.h: what the paths of REST mean, generated from the model (gen/rest.py has the rules).
 * Constant; any thread. Private to rest/.
 */
#pragma once

enum rest_flag {
    REST_LIST = 1 << 0,    /* GET of the collection */
    REST_CREATE = 1 << 1,  /* POST to it */
    REST_READ = 1 << 2,    /* GET of an object */
    REST_PATCH = 1 << 3,   /* some of its fields can be set */
    REST_DESTROY = 1 << 4, /* DELETE of it */

    REST_GET = 1 << 5,       /* of an action: GET, with parameters in the query; else POST */
    REST_ON_OBJECT = 1 << 6, /* the first parameter is the object in the path */
    REST_TASK = 1 << 7,      /* answered by a task, unless the client waits */
};

struct rest_action {
    const char *name;
    const char *message; /* "VM.start" */
    unsigned flags;
};

struct rest_class {
    const char *path; /* "vms" */
    int cls;
    unsigned flags;
    const struct rest_action *actions; /* sorted by name */
    unsigned n_actions;
};

extern const struct rest_class rest_classes[]; /* sorted by path */
extern const unsigned rest_n_classes;
