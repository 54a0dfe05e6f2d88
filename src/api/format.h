// The form a request wants its answer in: response_format and structured_outputs.
#ifndef API_FORMAT_H
#define API_FORMAT_H

#include "api/api.h"
#include "api/field.h"

// Points into the body, but for what is owned.
typedef struct api_format {
    grammar_answer answer;
    const json_t *schema; // SCHEMA
    json_t *parsed;       // owned: a schema that came as a string
    const char *regex;    // REGEX [regex_len]
    size_t regex_len;
    const char **choices; // CHOICE [n_choices], owned
    size_t *choice_lens;  // owned
    int n_choices;
    bool no_whitespace, no_additional;
    const char *request; // the field of the body; NULL: none, or text
    const char *field;   // for errors of what is in it
} api_format;

int api_format_read(const api_object *body, api_format *out);
void api_format_free(api_format *f); // also after an error

#endif
