#include "base/err.h"

#include "base/str.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// `err` may be among the arguments (its own message wrapped again), so the text is made aside.
static int fill(base_err *err, int code, const char *prefix, const char *text) {
    if (err == NULL)
        return code;
    char out[2 * sizeof err->message + 2];
    snprintf(out, sizeof out, "%s%s%s", prefix, prefix[0] != '\0' ? ": " : "", text);
    out[sizeof err->message - 1] = '\0';
    base_text_clean(out);
    memcpy(err->message, out, strlen(out) + 1);
    err->code = code;
    return code;
}

int base_fail(base_err *err, int code, const char *format, ...) {
    char text[sizeof err->message];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return fill(err, code, "", text);
}

int base_fail_prefix(base_err *err, const char *format, ...) {
    char prefix[sizeof err->message], text[sizeof err->message];
    va_list args;
    va_start(args, format);
    vsnprintf(prefix, sizeof prefix, format, args);
    va_end(args);
    memcpy(text, err->message, sizeof text);
    return fill(err, err->code, prefix, text);
}
