// The ids a client has seen and the tools it declared, each list sorted to be searched: clients
// choose ids and names, so nothing here may depend on how they are distributed.
#include "chat/calls.h"
#include "chat/history.h"
#include <limits.h>
#include <stdlib.h>

typedef struct slices {
    char *bytes; // of all of them
    chat_slice *at;
    int n;
} slices;

typedef struct named {
    chat_slice name;
    int tool;
} named;

struct chat_calls {
    int n_calls;
    slices ids;     // sorted
    slices names;   // as they were given
    named *by_name; // [names.n] by name, then by tool
    slices *keys;   // [names.n] the properties of each tool, sorted; NULL: nobody has told
};

static int compare_slices(const void *left, const void *right) {
    return chat_slice_compare(*(const chat_slice *)left, *(const chat_slice *)right);
}

static int compare_names(const void *left, const void *right) {
    const named *a = left, *b = right;
    int order = chat_slice_compare(a->name, b->name);
    return order ? order : (a->tool > b->tool) - (a->tool < b->tool);
}

// Makes the list the owner of its bytes.
static void slices_own(slices *s) {
    size_t bytes = 0;
    for (int i = 0; i < s->n; i++)
        bytes += s->at[i].len;
    char *to = s->bytes = base_alloc(bytes + 1);
    for (int i = 0; i < s->n; to += s->at[i++].len) {
        if (s->at[i].len > 0)
            memcpy(to, s->at[i].at, s->at[i].len);
        s->at[i].at = to;
    }
}

static void slices_sort(slices *s) {
    qsort(s->at, (size_t)s->n, sizeof *s->at, compare_slices);
}

static bool slices_have(const slices *s, chat_slice wanted) {
    return s->n > 0 && bsearch(&wanted, s->at, (size_t)s->n, sizeof *s->at, compare_slices);
}

static void slices_free(slices *s) {
    base_free(s->bytes);
    base_free(s->at);
}

// ---------------------------------------------------------------------------------------------

// The ids of calls and of results; the template shows no calls but an assistant's, clients may
// still know the others.
static void read_ids(slices *ids, const chat_conversation *c) {
    size_t n = 0;
    for (int i = 0; i < c->n_messages; i++)
        n += (size_t)c->messages[i].n_tool_calls + 1;
    ids->at = base_calloc(n, sizeof *ids->at);
    for (int i = 0; i < c->n_messages; i++) {
        const chat_message *m = &c->messages[i];
        for (int j = 0; j < m->n_tool_calls; j++)
            ids->at[ids->n++] = m->tool_calls[j].id;
        if (m->tool_call_id.len > 0)
            ids->at[ids->n++] = m->tool_call_id;
    }
    slices_own(ids);
    slices_sort(ids);
}

chat_calls *chat_calls_create(const chat_conversation *c, const chat_slice *names, int n_names) {
    chat_calls *calls = base_calloc(1, sizeof *calls);
    calls->n_calls = chat_history_count(c);
    read_ids(&calls->ids, c);
    calls->names = (slices){.at = base_calloc((size_t)n_names, sizeof *names), .n = n_names};
    calls->by_name = base_calloc((size_t)n_names, sizeof *calls->by_name);
    if (n_names > 0)
        memcpy(calls->names.at, names, (size_t)n_names * sizeof *names);
    slices_own(&calls->names);
    for (int i = 0; i < n_names; i++)
        calls->by_name[i] = (named){calls->names.at[i], i};
    qsort(calls->by_name, (size_t)n_names, sizeof *calls->by_name, compare_names);
    return calls;
}

static void free_keys(chat_calls *calls) {
    for (int i = 0; calls->keys && i < calls->names.n; i++)
        slices_free(&calls->keys[i]);
    base_free(calls->keys);
}

void chat_calls_free(chat_calls *calls) {
    if (!calls)
        return;
    free_keys(calls);
    slices_free(&calls->ids);
    slices_free(&calls->names);
    base_free(calls->by_name);
    base_free(calls);
}

int chat_calls_next_index(const chat_calls *calls) {
    return calls->n_calls;
}

bool chat_calls_has_id(const chat_calls *calls, chat_slice id) {
    return slices_have(&calls->ids, id);
}

int chat_calls_free_index(const chat_calls *calls, chat_slice name, int from) {
    base_str id = {0};
    for (; from < INT_MAX; from++) {
        base_str_clear(&id);
        chat_id_add(&id, name, from);
        if (!chat_calls_has_id(calls, (chat_slice){id.data, id.len}))
            break;
    }
    base_str_free(&id);
    return from;
}

// ---------------------------------------------------------------------------------------------

int chat_calls_n_tools(const chat_calls *calls) {
    return calls->names.n;
}

chat_slice chat_calls_tool_name(const chat_calls *calls, int tool) {
    return calls->names.at[tool];
}

int chat_calls_find_tool(const chat_calls *calls, chat_slice name) {
    int low = 0, high = calls->names.n;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (chat_slice_compare(calls->by_name[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = low < calls->names.n && chat_slice_compare(calls->by_name[low].name, name) == 0;
    return found ? calls->by_name[low].tool : -1;
}

static void read_keys(slices *keys, const json_t *tool) {
    const json_t *function = json_object_get(tool, "function");
    const json_t *parameters = json_object_get(function, "parameters");
    json_t *properties = json_object_get(parameters, "properties");
    keys->at = base_calloc(json_object_size(properties), sizeof *keys->at);
    for (void *at = json_object_iter(properties); at; at = json_object_iter_next(properties, at)) {
        const char *key = json_object_iter_key(at);
        keys->at[keys->n++] = (chat_slice){key, strlen(key)};
    }
    slices_own(keys);
    slices_sort(keys);
}

void chat_calls_set_tools(chat_calls *calls, const json_t *tools) {
    free_keys(calls);
    calls->keys = base_calloc((size_t)calls->names.n, sizeof *calls->keys);
    for (int i = 0; i < calls->names.n; i++)
        read_keys(&calls->keys[i], json_array_get(tools, (size_t)i));
}

static bool has_keys(const slices *keys, json_t *arguments) {
    for (void *at = json_object_iter(arguments); at; at = json_object_iter_next(arguments, at)) {
        const char *key = json_object_iter_key(at);
        if (!slices_have(keys, (chat_slice){key, strlen(key)}))
            return false;
    }
    return true;
}

static int tool_of(const chat_calls *calls, json_t *arguments) {
    int found = -1;
    for (int i = 0; i < calls->names.n; i++) {
        if (!has_keys(&calls->keys[i], arguments))
            continue;
        if (found >= 0)
            return -1;
        found = i;
    }
    return found;
}

int chat_calls_infer_tool(const chat_calls *calls, chat_slice arguments) {
    if (calls->names.n == 1)
        return 0;
    if (!calls->keys)
        return -1;
    base_err err;
    json_t *object =
        base_json_parse(arguments.at, arguments.len, "arguments", BASE_ERR_USAGE, &err);
    int found = json_is_object(object) ? tool_of(calls, object) : -1;
    json_decref(object);
    return found;
}
