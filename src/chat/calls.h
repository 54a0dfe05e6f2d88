// What the output has to know of the calls before it, and of the tools declared. Shared by the
// files of this room.
#ifndef CHAT_CALLS_H
#define CHAT_CALLS_H

#include "chat/chat.h"

// Whether a call or a tool's result of the conversation had this id, as the client wrote it.
bool chat_calls_has_id(const chat_calls *calls, chat_slice id);
// The lowest index from `from` on for which the client has seen no functions.NAME:INDEX. Going on
// behind each one that was given out, all searches of an output together are as long as the
// history.
int chat_calls_free_index(const chat_calls *calls, chat_slice name, int from);

// Declared tools are counted as in chat_calls_create.
int chat_calls_n_tools(const chat_calls *calls);
chat_slice chat_calls_tool_name(const chat_calls *calls, int tool);
int chat_calls_find_tool(const chat_calls *calls, chat_slice name); // -1: none has this name
// Whose call it is by the text of its arguments: the only tool there is, or else the only one whose
// properties have all keys of that object. -1: none or several, or the text is no JSON object.
int chat_calls_infer_tool(const chat_calls *calls, chat_slice arguments);

#endif
