#include "base/str.h"

#include "base/mem.h"
#include "base/num.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void base_str_reserve(base_str *s, size_t more) {
    size_t need;
    if (!base_add_size(s->len, more, &need) || !base_add_size(need, 1, &need))
        base_alloc(SIZE_MAX); // aborts with the message of memory being out
    if (need <= s->cap)
        return;
    size_t cap = s->cap < 32 ? 32 : s->cap;
    while (cap < need && base_add_size(cap, cap / 2 + 1, &cap))
        ;
    s->cap = cap < need ? need : cap;
    s->data = base_realloc(s->data, s->cap);
    s->data[s->len] = '\0';
}

void base_str_add(base_str *s, const void *bytes, size_t len) {
    base_str_reserve(s, len);
    if (len > 0)
        memcpy(s->data + s->len, bytes, len);
    s->len += len;
    s->data[s->len] = '\0';
}

void base_str_adds(base_str *s, const char *text) {
    base_str_add(s, text, strlen(text));
}

void base_str_printf(base_str *s, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len > 0) {
        base_str_reserve(s, (size_t)len);
        vsnprintf(s->data + s->len, (size_t)len + 1, format, again);
        s->len += (size_t)len;
    }
    va_end(again);
}

void base_str_clear(base_str *s) {
    s->len = 0;
    if (s->data != NULL)
        s->data[0] = '\0';
}

void base_str_free(base_str *s) {
    base_free(s->data);
    *s = (base_str){0};
}

void base_ids_add(base_ids *v, int32_t id) {
    if (v->len == v->cap) {
        size_t cap = v->cap < 16 ? 16 : v->cap + v->cap / 2, bytes;
        if (!base_mul_size(cap, sizeof *v->data, &bytes))
            bytes = SIZE_MAX; // base_realloc aborts on it
        v->data = base_realloc(v->data, bytes);
        v->cap = cap;
    }
    v->data[v->len++] = id;
}

void base_ids_free(base_ids *v) {
    base_free(v->data);
    *v = (base_ids){0};
}
