// A request's list of tools as the model reads it: as the model's own Python prints them for its
// template, json.dumps(tools, separators=(",", ":"), ensure_ascii=False) once the keys are sorted.
#include "chat/chat.h"

void chat_tools_print(const json_t *tools, base_str *out) {
    base_json_add(out, tools, ",", ":", true);
}
