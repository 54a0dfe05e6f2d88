// Sampled ids -> pieces of text of a field. The first </think> ends the thought, and so does the
// beginning of a tool call, since the model calls tools while it thinks. Everything before is
// reasoning, everything after is content.
#include "chat/format.h"

struct chat_output {
    const chat_format *format;
    chat_output_options options;
    chat_field field;
    int n_reasoning;
    token_decoder decoder;
};

static bool begins_call(chat_control c) {
    return c == CHAT_SECTION_BEGIN || c == CHAT_CALL_BEGIN;
}

// In an assistant's open turn the prompt may have begun a thought, or ended it; in a turn that is
// about to begin, a thought is what comes first; in anybody else's turn there is none.
static chat_field first_field(const chat_format *f, const int32_t *prompt, size_t n) {
    while (n > 0) {
        chat_control c = chat_control_of(f, prompt[--n]);
        if (c == CHAT_THINK || c == CHAT_IM_ASSISTANT || c == CHAT_IM_END)
            return CHAT_REASONING;
        if (c != CHAT_IM_MIDDLE && c != CHAT_ORDINARY)
            return CHAT_CONTENT;
    }
    return CHAT_REASONING;
}

chat_output *chat_output_create(const chat_format *f, const chat_output_options *options,
                                const int32_t *prompt, size_t n_prompt) {
    chat_output *o = base_alloc(sizeof *o);
    *o = (chat_output){.format = f, .options = *options, .field = CHAT_CONTENT};
    if (options->reasoning)
        o->field = first_field(f, prompt, n_prompt);
    return o;
}

void chat_output_free(chat_output *o) {
    base_free(o);
}

// What an incomplete character left belongs to the thought that ends.
static void end_thought(chat_output *o, base_str *text) {
    token_decode_end(&o->decoder, text);
    o->field = CHAT_CONTENT;
}

chat_field chat_output_push(chat_output *o, int32_t id, base_str *text) {
    chat_field field = o->field;
    chat_control c = o->options.reasoning ? chat_control_of(o->format, id) : CHAT_ORDINARY;
    bool ends = field == CHAT_REASONING && (c == CHAT_THINK_END || begins_call(c));
    o->n_reasoning += field == CHAT_REASONING && !begins_call(c);
    if (ends)
        end_thought(o, text);
    else if (c != CHAT_THINK && c != CHAT_THINK_END && !chat_is_tool_marker(c))
        token_decode(&o->decoder, o->format->vocab, id, o->options.skip_special, text);
    return field;
}

chat_field chat_output_end(chat_output *o, base_str *text) {
    token_decode_end(&o->decoder, text);
    return o->field;
}

int chat_output_reasoning_tokens(const chat_output *o) {
    return o->n_reasoning;
}
