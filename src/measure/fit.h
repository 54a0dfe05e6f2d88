// Whether a server counts the tokens of prompts as they were counted here.
#ifndef MEASURE_FIT_H
#define MEASURE_FIT_H

#include "measure/client.h"
#include "measure/sample.h"
#include <signal.h>

// Asks the server's /tokenize for the first prompt. If it counts otherwise, every prompt is cut to
// its length with /tokenize and /detokenize, as vLLM does it for random prompts; those for which
// the server does not answer stay as they are. `interrupted` may be NULL.
void measure_samples_fit(measure_samples *samples, measure_client *client, const char *model,
                         const volatile sig_atomic_t *interrupted);

#endif
