#include "cli/sse.h"
#include <string.h>

enum { LONGEST = 64 << 20 };

static void end_line(cli_sse_reader *r, void (*take)(void *arg, const char *data, size_t len),
                     void *arg) {
    const char *line = r->line.data;
    size_t len = r->line.len;
    if (len > 0 && line[len - 1] == '\r')
        len--;
    if (len == 0) {
        if (r->data.len > 0)
            take(arg, r->data.data, r->data.len);
        base_str_clear(&r->data);
    } else if (len >= 5 && memcmp(line, "data:", 5) == 0) {
        size_t skip = len > 5 && line[5] == ' ' ? 6 : 5;
        if (r->data.len > 0)
            base_str_adds(&r->data, "\n");
        base_str_add(&r->data, line + skip, len - skip);
    }
    base_str_clear(&r->line);
}

bool cli_sse_push(cli_sse_reader *r, const char *bytes, size_t len,
                  void (*take)(void *arg, const char *data, size_t len), void *arg) {
    while (len > 0 && !r->too_long) {
        const char *end = memchr(bytes, '\n', len);
        size_t n = end != NULL ? (size_t)(end - bytes) : len;
        r->too_long = r->line.len + n > LONGEST || r->data.len + n > LONGEST;
        if (r->too_long)
            break;
        base_str_add(&r->line, bytes, n);
        if (end != NULL) {
            end_line(r, take, arg);
            n++;
        }
        bytes += n;
        len -= n;
    }
    return !r->too_long;
}

void cli_sse_free(cli_sse_reader *r) {
    base_str_free(&r->line);
    base_str_free(&r->data);
    *r = (cli_sse_reader){0};
}
