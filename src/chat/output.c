// Sampled ids -> pieces of text of a field. Only control ids change the state, never text, so
// nothing the model spells can be taken for a marker, and there is nothing to look ahead for. The
// first </think> ends the thought, and so does the beginning of a tool call, since the model calls
// tools while it thinks.
#include "chat/format.h"
#include "chat/output_call.h"

typedef enum {
    IN_THOUGHT,
    IN_CONTENT,
    IN_SECTION, // outside of calls
    IN_ID,
    IN_ARGUMENTS,
    IN_UNNAMED, // arguments that will tell whose call it is
    IN_SKIPPED, // arguments of a call without a name
} output_state;

struct chat_output {
    const chat_format *format;
    chat_output_options options;
    output_state state;
    bool in_section, began; // a section is open; something of the arguments has come
    int n_reasoning, n_dropped;
    token_decoder decoder;
    chat_made_calls calls;
    base_str piece;   // of the id at hand
    base_str held;    // an id, arguments without a name, or white space that may be at their end
    base_str dropped; // not given out yet
};

static bool begins_call(chat_control c) {
    return c == CHAT_SECTION_BEGIN || c == CHAT_CALL_BEGIN;
}

// In an assistant's open turn the prompt may have begun a thought, or ended it; in a turn that is
// about to begin, a thought is what comes first; in anybody else's turn there is none.
chat_begin chat_output_begin(const chat_format *f, const int32_t *prompt, size_t n) {
    while (n > 0) {
        chat_control c = chat_control_of(f, prompt[--n]);
        if (c == CHAT_THINK)
            return CHAT_IN_THOUGHT;
        if (c == CHAT_IM_ASSISTANT || c == CHAT_IM_END)
            return CHAT_BEGINS_THOUGHT;
        if (c != CHAT_IM_MIDDLE && c != CHAT_ORDINARY)
            return CHAT_IN_ANSWER;
    }
    return CHAT_BEGINS_THOUGHT;
}

chat_output *chat_output_create(const chat_format *f, const chat_output_options *options,
                                const int32_t *prompt, size_t n_prompt) {
    chat_output *o = base_alloc(sizeof *o);
    *o = (chat_output){.format = f, .options = *options, .state = IN_CONTENT};
    if (options->reasoning && chat_output_begin(f, prompt, n_prompt) != CHAT_IN_ANSWER)
        o->state = IN_THOUGHT;
    if (options->calls != NULL)
        o->calls.next = chat_calls_next_index(options->calls);
    return o;
}

void chat_output_free(chat_output *o) {
    if (o == NULL)
        return;
    chat_made_calls_free(&o->calls);
    base_str_free(&o->piece);
    base_str_free(&o->held);
    base_str_free(&o->dropped);
    base_free(o);
}

// ---------------------------------------------------------------------------------------------
// Text

static void drop_held(chat_output *o) {
    base_str_add(&o->dropped, o->held.data, o->held.len);
    base_str_clear(&o->held);
}

// White space at the beginning is dropped; other is held until something comes behind it.
static void take_arguments(chat_output *o, base_str *text) {
    const char *at = o->piece.data;
    size_t len = o->piece.len, skip = o->began ? 0 : chat_leading_space(at, len);
    base_str_add(&o->dropped, at, skip);
    at += skip;
    len -= skip;
    size_t space = chat_trailing_space(at, len);
    if (len > space) {
        o->began = true;
        base_str_add(text, o->held.data, o->held.len);
        base_str_clear(&o->held);
        base_str_add(text, at, len - space);
    }
    base_str_add(&o->held, at + len - space, space);
}

static void take_piece(chat_output *o, base_str *text) {
    if (o->piece.len == 0)
        return;
    switch (o->state) {
    case IN_THOUGHT:
    case IN_CONTENT:
        base_str_add(text, o->piece.data, o->piece.len);
        break;
    case IN_SECTION:
    case IN_SKIPPED:
        base_str_add(&o->dropped, o->piece.data, o->piece.len);
        break;
    case IN_ID:
    case IN_UNNAMED:
        base_str_add(&o->held, o->piece.data, o->piece.len);
        break;
    case IN_ARGUMENTS:
        take_arguments(o, text);
        break;
    }
    base_str_clear(&o->piece);
}

static void take_rest(chat_output *o, base_str *text) {
    token_decode_end(&o->decoder, &o->piece);
    take_piece(o, text);
}

// ---------------------------------------------------------------------------------------------
// Calls

static chat_slice held_text(const chat_output *o) {
    return (chat_slice){o->held.len > 0 ? o->held.data : "", o->held.len};
}

static void add_call(chat_output *o, chat_slice name, int index) {
    chat_made_calls_add(&o->calls, o->options.calls, name, index);
    o->began = false;
}

static void end_call(chat_output *o) {
    o->calls.at[o->calls.n - 1].ended = true;
}

static void begin_arguments(chat_output *o) {
    chat_id id = chat_id_read(o->options.calls, held_text(o));
    o->state = id.kind == CHAT_ID_NAMED    ? IN_ARGUMENTS
               : id.kind == CHAT_ID_NUMBER ? IN_UNNAMED
                                           : IN_SKIPPED;
    if (id.kind == CHAT_ID_NAMED)
        add_call(o, id.name, id.index);
    o->n_dropped += id.kind == CHAT_ID_BAD;
    drop_held(o);
}

// A call that ends without arguments has none; one that only stops began in error.
static void end_id(chat_output *o, bool ends) {
    chat_id id = chat_id_read(o->options.calls, held_text(o));
    if (ends && id.kind == CHAT_ID_NAMED) {
        add_call(o, id.name, id.index);
        end_call(o);
    } else {
        o->n_dropped++;
    }
    drop_held(o);
}

static void end_unnamed(chat_output *o, base_str *text) {
    const chat_calls *calls = o->options.calls;
    int tool = chat_calls_infer_tool(calls, chat_trim(held_text(o)));
    if (tool < 0) {
        o->n_dropped++;
        drop_held(o);
        return;
    }
    add_call(o, chat_calls_tool_name(calls, tool), -1);
    base_str_add(&o->piece, o->held.data, o->held.len);
    base_str_clear(&o->held);
    take_arguments(o, text);
    base_str_clear(&o->piece);
    drop_held(o);
    end_call(o);
}

// Ends the state: what an incomplete character left belongs to it. `ends`: by its own marker.
static void leave(chat_output *o, bool ends, base_str *text) {
    take_rest(o, text);
    if (o->state == IN_ID) {
        end_id(o, ends);
    } else if (o->state == IN_UNNAMED) {
        end_unnamed(o, text);
    } else if (o->state == IN_ARGUMENTS) {
        drop_held(o);
        end_call(o);
    }
}

// ---------------------------------------------------------------------------------------------
// Markers

// Takes a marker that means something here; others are nothing.
static void take_tool_marker(chat_output *o, chat_control c, base_str *text) {
    bool in_call = o->state >= IN_ID;
    if (c == CHAT_SECTION_BEGIN || (c == CHAT_SECTION_END && (o->in_section || in_call))) {
        leave(o, false, text);
        o->in_section = c == CHAT_SECTION_BEGIN;
        o->state = o->in_section ? IN_SECTION : IN_CONTENT;
    } else if (c == CHAT_CALL_BEGIN) {
        leave(o, false, text);
        o->state = IN_ID;
    } else if (c == CHAT_CALL_ARGUMENT && o->state == IN_ID) {
        take_rest(o, text);
        begin_arguments(o);
    } else if (c == CHAT_CALL_END && in_call) {
        leave(o, true, text);
        o->state = o->in_section ? IN_SECTION : IN_CONTENT;
    }
}

// Whether the id is a marker rather than text.
static bool is_marker(const chat_output *o, chat_control c) {
    if (chat_is_tool_marker(c))
        return o->options.reasoning || o->options.calls != NULL;
    return (c == CHAT_THINK || c == CHAT_THINK_END) &&
           (o->options.reasoning || o->state != IN_CONTENT);
}

static void take_marker(chat_output *o, chat_control c, base_str *text) {
    bool calls = o->options.calls != NULL;
    if (o->state == IN_THOUGHT && (c == CHAT_THINK_END || (begins_call(c) && !calls))) {
        leave(o, true, text);
        o->state = IN_CONTENT;
    } else if (chat_is_tool_marker(c) && calls) {
        take_tool_marker(o, c, text);
    }
}

static chat_field shown_field(output_state state) {
    return state == IN_THOUGHT   ? CHAT_REASONING
           : state == IN_CONTENT ? CHAT_CONTENT
                                 : CHAT_ARGUMENTS;
}

// Text of the field shown goes first, since it is waited for.
static chat_field give_out(chat_output *o, chat_field shown, bool gave, base_str *text) {
    if (gave || o->dropped.len == 0)
        return shown;
    base_str_add(text, o->dropped.data, o->dropped.len);
    base_str_clear(&o->dropped);
    return CHAT_DROPPED;
}

chat_field chat_output_push(chat_output *o, int32_t id, base_str *text) {
    chat_field shown = shown_field(o->state);
    chat_control c = chat_control_of(o->format, id);
    size_t before = text->len;
    o->n_reasoning += o->state == IN_THOUGHT && !begins_call(c);
    if (is_marker(o, c)) {
        take_marker(o, c, text);
    } else {
        token_decode(&o->decoder, o->format->vocab, id, o->options.skip_special, &o->piece);
        take_piece(o, text);
    }
    return give_out(o, shown, text->len > before, text);
}

chat_field chat_output_end(chat_output *o, base_str *text) {
    size_t before = text->len;
    take_rest(o, text);
    drop_held(o);
    return give_out(o, shown_field(o->state), text->len > before, text);
}

// ---------------------------------------------------------------------------------------------

int chat_output_reasoning_tokens(const chat_output *o) {
    return o->n_reasoning;
}

bool chat_output_is_thinking(const chat_output *o) {
    return o->state == IN_THOUGHT;
}

int chat_output_n_calls(const chat_output *o) {
    return o->calls.n;
}

chat_output_call chat_output_get_call(const chat_output *o, int i) {
    const chat_made_call *call = &o->calls.at[i];
    return (chat_output_call){{call->id, call->id_len}, call->name, call->ended};
}

int chat_output_n_dropped(const chat_output *o) {
    return o->n_dropped;
}
