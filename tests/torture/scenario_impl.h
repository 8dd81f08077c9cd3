/* scenario_impl.h: what the files of scenarios share. */
#pragma once

#include "scenario.h"

/* The object that setup made for run; an rstr, for the process. */
extern const char *remembered;

/* scenario_stream.c */
struct err *run_import_disk(struct lab *w);
struct err *run_export_vm(struct lab *w);
struct err *with_archive(struct lab *w);
struct err *run_import_vm(struct lab *w);
struct err *run_export_disk(struct lab *w);
struct err *run_serve_disk(struct lab *w);
