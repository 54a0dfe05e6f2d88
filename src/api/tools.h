// The tools a chat declares, and how they are to be called.
#ifndef API_TOOLS_H
#define API_TOOLS_H

#include "api/api.h"
#include "api/field.h"

typedef enum {
    API_CHOICE_NONE, // also when no tools are declared
    API_CHOICE_AUTO,
    API_CHOICE_REQUIRED,
    API_CHOICE_NAMED,
} api_choice_word;

// Points into the body.
typedef struct api_tools {
    const json_t *list; // NULL: none
    int n;
    grammar_tool *at;   // [n]
    chat_slice *names;  // [n]
    char (*fields)[48]; // [n] "tools[2].function.parameters"
    bool strict;        // of any tool
    api_choice_word choice;
    int named;     // API_CHOICE_NAMED: an index
    bool one_call; // parallel_tool_calls is false, or a tool is named
    bool shown;    // to the model
} api_tools;

int api_tools_read(const api_options *o, const api_object *body, api_tools *out);
void api_tools_free(api_tools *t); // also after an error

#endif
