// What went wrong with a request, on its way to an OpenAI error object.
#ifndef API_ERROR_H
#define API_ERROR_H

#include "base/base.h"

typedef struct api_error {
    int status;     // 0: nothing went wrong
    char type[40];  // "BadRequestError", ...
    char param[96]; // the field's path ("messages[2].content"), "" : null
    char message[1000];
    int retry_after_s; // 0: no such header
} api_error;

// Fills `e` and returns `status`. The type follows from the status, as in vLLM: 400
// BadRequestError, 401 AuthenticationError, 404 NotFoundError, 422 UnprocessableEntityError, 429
// RateLimitError, 501 NotImplementedError, 503 ServiceUnavailableError, any other 4xx
// BadRequestError, else InternalServerError.
int api_fail(api_error *e, int status, const char *param, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

// "FIELD: reason" of a base_err from engine_submit or chat_render, as a 400 with FIELD as param.
int api_fail_field(api_error *e, const base_err *err);

// {"error": {"message", "type", "param", "code"}}
void api_error_print(const api_error *e, base_str *out);
// What ends a stream that failed: the event of the error, and [DONE].
void api_error_print_events(const api_error *e, base_str *out);

#endif
