// Readers of the fields of a JSON object from a client. Each refuses what is not of its type or out
// of range with a 400 whose param is the field's path, and leaves the value alone when the field is
// absent or null. A number that is whole is an integer however it is written (1.0, 1e3); a boolean
// or a string never is a number.
#ifndef API_FIELD_H
#define API_FIELD_H

#include "api/error.h"
#include <jansson.h>

typedef struct api_object {
    const json_t *json; // NULL: there is none
    char path[64];      // where it stands: "messages[2]"; "" for the body itself
    api_error *error;   // what the readers fill
} api_object;

// A request's body, which must be an object. Its number of values is bounded as well, because a
// parsed one takes far more memory than its text. The caller owns the result (json_decref).
int api_body_parse(json_t **out, const char *body, size_t len, api_error *error);
// The same, but the field "prompt" may have NUL in its strings: each byte of it counts.
int api_body_parse_prompt(json_t **out, const char *body, size_t len, api_error *error);
// As the first, but NUL and halves of surrogate pairs in strings are read as U+FFFD. Conversations
// have them where agents print what is no text, or cut it, and would end there.
int api_body_parse_chat(json_t **out, const char *body, size_t len, api_error *error);

// The field's value; NULL when it is absent or null.
json_t *api_field_get(const api_object *o, const char *name);
// api_fail with the field's path as param and in front of the message.
int api_field_fail(const api_object *o, int status, const char *name, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
// "must be WHAT, got a string"
int api_field_fail_type(const api_object *o, const char *name, const char *what, const json_t *got);

int api_field_bool(const api_object *o, const char *name, bool *value);
int api_field_int(const api_object *o, const char *name, int64_t low, int64_t high, int64_t *value);
int api_field_real(const api_object *o, const char *name, double low, double high, double *value);
int api_field_string(const api_object *o, const char *name, const char **text, size_t *len);
int api_field_list(const api_object *o, const char *name, const json_t **list);
int api_field_object(const api_object *o, const char *name, api_object *child);
// The same, but it must be there.
int api_field_need_string(const api_object *o, const char *name, const char **text);
int api_field_need_object(const api_object *o, const char *name, api_object *child);
// api_field_object for `item`, number `index` of a list field, which must be there.
int api_item_object(const api_object *o, const char *name, size_t index, const json_t *item,
                    api_object *child);
// Appends a list of at most `max` ids of a vocabulary of `n_vocab` to `out`.
int api_field_ids(const api_object *o, const char *name, int n_vocab, size_t max, base_ids *out);
// The same for a list that has been found already; `name` is only for errors.
int api_list_ids(const api_object *o, const char *name, const json_t *list, int n_vocab,
                 base_ids *out);

#endif
