// What is said of a schema: errors and keywords that were relaxed, both with their paths.
#include "grammar/schema.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MAX_NAME = 100, MAX_HEAD = 150, MAX_TAIL = 300 };

// Cuts out the middle of a long path, between characters: the message must have room for the
// reason.
static void shorten(base_str *path) {
    if (path->len <= MAX_HEAD + MAX_TAIL)
        return;
    size_t head = MAX_HEAD, tail = path->len - MAX_TAIL;
    while (head > 0 && ((unsigned char)path->data[head] & 0xc0) == 0x80)
        head--;
    while (tail < path->len && ((unsigned char)path->data[tail] & 0xc0) == 0x80)
        tail++;
    base_str out = {0};
    base_str_printf(&out, "%.*s...%s", (int)head, path->data, path->data + tail);
    base_str_free(path);
    *path = out;
}

void schema_path(const schema *s, int32_t place, base_str *out) {
    int32_t chain[SCHEMA_MAX_DEPTH + 2];
    int n = 0;
    for (; s->places[place].parent >= 0; place = s->places[place].parent)
        chain[n++] = place;
    base_str_adds(out, s->places[place].path);
    while (n > 0) {
        const schema_place *p = &s->places[chain[--n]];
        base_str_printf(out, ".%s", p->keyword);
        if (p->name != NULL)
            base_str_printf(out, ".%.*s", MAX_NAME, p->name);
        if (p->index >= 0)
            base_str_printf(out, "[%d]", p->index);
    }
    shorten(out);
}

int schema_fail(schema *s, int32_t place, const char *keyword, const char *format, ...) {
    base_str path = {0};
    schema_path(s, place, &path);
    if (keyword != NULL)
        base_str_printf(&path, ".%.*s", MAX_NAME, keyword);
    char reason[400];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    base_fail(s->err, BASE_ERR_USAGE, "%s: %s", path.data, reason);
    base_str_free(&path);
    return BASE_ERR_USAGE;
}

int schema_unsupported(schema *s, int32_t place, const char *keyword, const char *why) {
    if (s->options->strict)
        return schema_fail(s, place, keyword, "%s", why != NULL ? why : "is not supported");
    s->places[place].relaxed = true;
    if (s->relaxed == NULL || s->n_reports > SCHEMA_MAX_REPORTS)
        return 0;
    base_str entry = {0};
    schema_path(s, place, &entry);
    base_str_printf(&entry, ": %.*s", MAX_NAME, keyword);
    base_text_clean(entry.data);
    if (schema_map_get(&s->reported, entry.data, strlen(entry.data)) < 0) {
        schema_map_put(&s->reported, entry.data, strlen(entry.data), 0);
        if (s->relaxed->len > 0)
            base_str_adds(s->relaxed, ", ");
        base_str_adds(s->relaxed, s->n_reports++ < SCHEMA_MAX_REPORTS ? entry.data : "...");
    }
    base_str_free(&entry);
    return 0;
}

int schema_work(schema *s, int64_t steps) {
    s->work += steps;
    if (s->work <= SCHEMA_MAX_WORK)
        return 0;
    return base_fail(s->err, BASE_ERR_USAGE,
                     "%s: too large: putting its schemas together takes more than %d steps",
                     s->options->field, SCHEMA_MAX_WORK);
}
