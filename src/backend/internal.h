// What backend.c knows of the implementations, one opener each. They set `ops` and may rely on
// backend_open having checked the options and on backend_submit having checked the plan.
#ifndef BACKEND_INTERNAL_H
#define BACKEND_INTERNAL_H

#include "backend/backend.h"

int backend_reference_open(backend **out, const model *m, const backend_options *options,
                           base_err *err);
int backend_cpu_open(backend **out, const model *m, const backend_options *options, base_err *err);
int backend_replay_open(backend **out, const backend_script *scripts, int n_scripts,
                        const model_config *config, const backend_options *options, base_err *err);

#endif
