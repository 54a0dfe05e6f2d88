// The inside of a format, shared by the files of this room.
#ifndef CHAT_FORMAT_H
#define CHAT_FORMAT_H

#include "chat/chat.h"

typedef enum {
    CHAT_IM_SYSTEM,
    CHAT_IM_USER,
    CHAT_IM_ASSISTANT,
    CHAT_IM_MIDDLE,
    CHAT_IM_END,
    CHAT_THINK,
    CHAT_THINK_END,
    CHAT_SECTION_BEGIN, // the tool markers, up to the last one
    CHAT_SECTION_END,
    CHAT_CALL_BEGIN,
    CHAT_CALL_ARGUMENT,
    CHAT_CALL_END,
    CHAT_N_CONTROLS,
    CHAT_ORDINARY = CHAT_N_CONTROLS, // any other id
} chat_control;

struct chat_format {
    const token_vocab *vocab;
    int32_t ids[CHAT_N_CONTROLS];
};

// Which of the format's control tokens `id` is, or CHAT_ORDINARY.
chat_control chat_control_of(const chat_format *f, int32_t id);

static inline bool chat_is_tool_marker(chat_control c) {
    return c >= CHAT_SECTION_BEGIN && c <= CHAT_CALL_END;
}

#endif
