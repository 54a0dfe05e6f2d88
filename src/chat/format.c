// The control tokens of Kimi-K2-Thinking's format, found in a vocabulary by their names.
#include "chat/format.h"
#include <string.h>

static const char *const names[CHAT_N_CONTROLS] = {
    [CHAT_IM_SYSTEM] = "<|im_system|>",
    [CHAT_IM_USER] = "<|im_user|>",
    [CHAT_IM_ASSISTANT] = "<|im_assistant|>",
    [CHAT_IM_MIDDLE] = "<|im_middle|>",
    [CHAT_IM_END] = "<|im_end|>",
    [CHAT_THINK] = "<think>",
    [CHAT_THINK_END] = "</think>",
    [CHAT_SECTION_BEGIN] = "<|tool_calls_section_begin|>",
    [CHAT_SECTION_END] = "<|tool_calls_section_end|>",
    [CHAT_CALL_BEGIN] = "<|tool_call_begin|>",
    [CHAT_CALL_ARGUMENT] = "<|tool_call_argument_begin|>",
    [CHAT_CALL_END] = "<|tool_call_end|>",
};

int chat_format_create(chat_format **out, const token_vocab *vocab, base_err *err) {
    chat_format f = {.vocab = vocab};
    *out = NULL;
    for (int i = 0; i < CHAT_N_CONTROLS; i++) {
        f.ids[i] = token_control_id(vocab, names[i]);
        if (f.ids[i] < 0)
            return base_fail(err, BASE_ERR_MODEL,
                             "tokenizer_config.json: added_tokens_decoder: no %s, which the chat "
                             "template of Kimi-K2-Thinking needs",
                             names[i]);
    }
    *out = base_alloc(sizeof **out);
    **out = f;
    return 0;
}

void chat_format_free(chat_format *f) {
    base_free(f);
}

const int32_t *chat_tool_markers(const chat_format *f, int *n) {
    *n = CHAT_CALL_END - CHAT_SECTION_BEGIN + 1;
    return &f->ids[CHAT_SECTION_BEGIN];
}

void chat_control_ids(const chat_format *f, int32_t think[2], int32_t calls[5]) {
    memcpy(think, &f->ids[CHAT_THINK], 2 * sizeof *think);
    memcpy(calls, &f->ids[CHAT_SECTION_BEGIN], 5 * sizeof *calls);
}

chat_control chat_control_of(const chat_format *f, int32_t id) {
    int i = 0;
    while (i < CHAT_N_CONTROLS && f->ids[i] != id)
        i++;
    return i;
}
