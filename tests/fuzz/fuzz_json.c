// Strict JSON: what is accepted is UTF-8, and its strings and doubles are written so that they read
// back equal. The raw input, as a string, always becomes valid JSON.
#include "base/base.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
    if (!condition)
        abort();
}

static void check_scalar(const json_t *value) {
    base_str text = {0};
    base_err err = {0};
    if (json_is_string(value))
        base_json_add_string(&text, json_string_value(value), json_string_length(value));
    else if (json_is_real(value))
        base_json_add_double(&text, json_real_value(value));
    else
        return;
    json_t *again = base_json_parse(text.data, text.len, "again", 1, &err);
    require(again != NULL && json_equal(value, again));
    json_decref(again);
    base_str_free(&text);
}

static void check_all(json_t *value) {
    if (json_is_object(value)) {
        const char *key;
        json_t *child;
        json_object_foreach(value, key, child) check_all(child);
    } else if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value); i++)
            check_all(json_array_get(value, i));
    } else {
        check_scalar(value);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data;
    base_err err = {0};
    json_t *value = base_json_parse(text, size, "input", BASE_ERR_USAGE, &err);
    require((value == NULL) == (err.code == BASE_ERR_USAGE));
    if (value != NULL)
        check_all(value);
    json_decref(value);

    base_str quoted = {0};
    base_json_add_string(&quoted, text, size);
    value = json_loadb(quoted.data, quoted.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    require(value != NULL);
    json_decref(value);
    base_str_free(&quoted);
    return 0;
}
