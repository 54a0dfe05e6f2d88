// What the fuzz targets of requests require of what they are told.
#ifndef TESTS_FUZZ_API_CHECKS_H
#define TESTS_FUZZ_API_CHECKS_H

#include "unit/api_fixture.h"
#include <stdlib.h>

static inline void require(bool condition) {
    if (!condition)
        abort();
}

static inline void require_utf8(const char *text, size_t len) {
    for (size_t at = 0; at < len;) {
        bool valid;
        at += base_utf8_next(text + at, len - at, &valid);
        require(valid);
    }
}

// What is refused says why in UTF-8.
static inline void require_error(const api_error *e, int rc) {
    require(rc == e->status && (rc == 400 || rc == 404 || rc == 501 || rc == 503));
    require(e->message[0] && e->type[0]);
    require_utf8(e->message, strlen(e->message));
    require_utf8(e->param, strlen(e->param));
}

// What is accepted, the engine accepts as well. Of the calls that are one prompt's only choice.
static inline void require_one_chat(const api_options *o, const api_call *c, api_dialect dialect) {
    require(c->kind == API_CHAT && c->dialect == dialect);
    require(c->n_prompts == 1 && c->params.n == 1);
    require(c->prompts[0].ids.len + (size_t)c->params.max_tokens <= (size_t)o->max_model_len);
    require(api_fixture_admit(o, c, NULL) == 0);
}

#endif
