// Whether the model is to think, and for how long: said in one place for the prompt, the constraint
// and the reading of the output, because clients have many ways of saying it.
#ifndef API_THINKING_H
#define API_THINKING_H

#include "api/field.h"

typedef struct api_thinking {
    bool off;
    int64_t budget;    // ids of a thought; -1: none
    const char *field; // that asked for the budget; NULL: none
} api_thinking;

// Of a chat's body. Off when any field says so: `thinking` or `enable_thinking` (of the body or of
// chat_template_kwargs) or reasoning_effort none. The budget is thinking_token_budget, else that of
// `thinking`, else what reasoning_effort stands for.
int api_thinking_read(const api_object *body, api_thinking *out);

#endif
