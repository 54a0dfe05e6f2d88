// JSON in tests, with ' for ".
#ifndef TESTS_UNIT_QUOTED_JSON_H
#define TESTS_UNIT_QUOTED_JSON_H

#include "base/base.h"
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static inline json_t *quoted_json(const char *text) {
    base_str s = {0};
    base_err err;
    base_str_adds(&s, text);
    for (size_t i = 0; i < s.len; i++)
        s.data[i] = s.data[i] == '\'' ? '"' : s.data[i];
    json_t *json = base_json_parse(s.data, s.len, text, BASE_ERR_USAGE, &err);
    if (!json)
        fail_msg("%s", err.message);
    base_str_free(&s);
    return json;
}

// Takes `got` over, which was made of `from`.
static inline void expect_quoted_json(json_t *got, const char *expected, const char *from) {
    json_t *want = quoted_json(expected);
    if (!json_equal(got, want)) {
        char *text = json_dumps(got, JSON_COMPACT | JSON_ENCODE_ANY);
        fail_msg("%s\nbecame\n%s\ninstead of\n%s", from, text ? text : "nothing", expected);
    }
    json_decref(got);
    json_decref(want);
}

#endif
