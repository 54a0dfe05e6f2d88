// /tokenize and /detokenize: body -> reply, without the engine. Any thread may call them.
#ifndef API_TOKENIZE_H
#define API_TOKENIZE_H

#include "api/api.h"
#include "api/error.h"

// Appends the JSON reply and returns 0, or the status in `error` with nothing appended.
int api_tokenize(const api_options *o, const char *body, size_t len, base_str *reply,
                 api_error *error);
int api_detokenize(const api_options *o, const char *body, size_t len, base_str *reply,
                   api_error *error);

#endif
