#include "api/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *type_of(int status) {
    static const struct {
        int status;
        const char *type;
    } types[] = {
        {401, "AuthenticationError"},      {404, "NotFoundError"},
        {422, "UnprocessableEntityError"}, {429, "RateLimitError"},
        {501, "NotImplementedError"},      {503, "ServiceUnavailableError"},
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].status == status)
            return types[i].type;
    return status >= 400 && status < 500 ? "BadRequestError" : "InternalServerError";
}

int api_fail(api_error *e, int status, const char *param, const char *format, ...) {
    // `e` may be among the arguments, so the texts are made aside.
    char message[sizeof e->message], name[sizeof e->param];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    snprintf(name, sizeof name, "%s", param);
    *e = (api_error){.status = status};
    snprintf(e->type, sizeof e->type, "%s", type_of(status));
    snprintf(e->param, sizeof e->param, "%s", name);
    snprintf(e->message, sizeof e->message, "%s", message);
    base_text_clean(e->param);
    base_text_clean(e->message);
    return status;
}

int api_fail_field(api_error *e, const base_err *err) {
    char param[sizeof e->param] = "";
    size_t len = strcspn(err->message, ": ");
    if (len < sizeof param && err->message[len] == ':')
        snprintf(param, sizeof param, "%.*s", (int)len, err->message);
    return api_fail(e, 400, param, "%s", err->message);
}

void api_error_print(const api_error *e, base_str *out) {
    base_str_adds(out, "{\"error\":{\"message\":");
    base_json_add_string(out, e->message, strlen(e->message));
    base_str_adds(out, ",\"type\":");
    base_json_add_string(out, e->type, strlen(e->type));
    base_str_adds(out, ",\"param\":");
    if (e->param[0])
        base_json_add_string(out, e->param, strlen(e->param));
    else
        base_str_adds(out, "null");
    base_str_printf(out, ",\"code\":%d}}", e->status);
}

void api_error_print_events(const api_error *e, base_str *out) {
    base_str_adds(out, "data: ");
    api_error_print(e, out);
    base_str_adds(out, "\n\ndata: [DONE]\n\n");
}
