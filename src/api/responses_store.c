// Conversations that previous_response_id can name, the least recently used forgotten first. They
// are kept as text: its length is what they cost, and nothing is shared between threads.
#include "api/responses.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct entry {
    char *id;
    char *messages, *items; // [n_messages], [n_items] bytes: JSON lists
    size_t n_messages, n_items;
    struct entry *newer, *older;
} entry;

struct api_responses_store {
    pthread_mutex_t lock;
    size_t max_bytes, bytes;
    entry *newest, *oldest;
};

// What an entry counts for beside its text. It takes a tenth of that, but empty ones must not be so
// many that looking for one takes long.
enum { ENTRY_COST = 4 << 10 };

api_responses_store *api_responses_store_create(size_t max_bytes) {
    api_responses_store *s = base_calloc(1, sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
    s->max_bytes = max_bytes;
    return s;
}

static size_t cost(const entry *e) {
    return e->n_messages + e->n_items + ENTRY_COST;
}

static void unlink_entry(api_responses_store *s, entry *e) {
    *(e->newer ? &e->newer->older : &s->newest) = e->older;
    *(e->older ? &e->older->newer : &s->oldest) = e->newer;
    s->bytes -= cost(e);
}

static void link_newest(api_responses_store *s, entry *e) {
    e->newer = NULL;
    e->older = s->newest;
    *(s->newest ? &s->newest->newer : &s->oldest) = e;
    s->newest = e;
    s->bytes += cost(e);
}

static void entry_free(entry *e) {
    base_free(e->id);
    free(e->messages); // jansson's
    base_free(e->items);
    base_free(e);
}

void api_responses_store_free(api_responses_store *s) {
    if (!s)
        return;
    while (s->oldest) {
        entry *e = s->oldest;
        unlink_entry(s, e);
        entry_free(e);
    }
    pthread_mutex_destroy(&s->lock);
    base_free(s);
}

// Ids are of the latest few thousand responses, and are looked for once a request.
static entry *find(const api_responses_store *s, const char *id) {
    entry *e = s->newest;
    while (e && strcmp(e->id, id) != 0)
        e = e->older;
    return e;
}

void api_responses_store_put(api_responses_store *s, const char *id, const json_t *messages,
                             const json_t *turn, const base_str *items) {
    json_t *all = json_copy((json_t *)messages);
    char *text = NULL;
    if (all && json_array_append(all, (json_t *)turn) == 0)
        text = json_dumps(all, JSON_COMPACT);
    json_decref(all);
    if (!text)
        return;
    entry *e = base_calloc(1, sizeof *e);
    *e = (entry){.id = base_strndup(id, strlen(id)),
                 .messages = text,
                 .n_messages = strlen(text),
                 .items = base_strndup(items->data, items->len),
                 .n_items = items->len};
    if (cost(e) > s->max_bytes) {
        entry_free(e);
        return;
    }
    pthread_mutex_lock(&s->lock);
    link_newest(s, e);
    entry *dead = NULL;
    while (s->bytes > s->max_bytes) {
        entry *last = s->oldest;
        unlink_entry(s, last);
        last->older = dead;
        dead = last;
    }
    pthread_mutex_unlock(&s->lock);
    while (dead) {
        entry *next = dead->older;
        entry_free(dead);
        dead = next;
    }
}

// Takes the text of a list that the caller may have.
static json_t *parse(char *text, size_t len) {
    json_t *list = text ? json_loadb(text, len, JSON_ALLOW_NUL, NULL) : NULL;
    base_free(text);
    return list;
}

static entry *find_and_use(api_responses_store *s, const char *id) {
    entry *e = find(s, id);
    if (e) {
        unlink_entry(s, e);
        link_newest(s, e);
    }
    return e;
}

json_t *api_responses_store_get(api_responses_store *s, const char *id) {
    pthread_mutex_lock(&s->lock);
    const entry *e = find_and_use(s, id);
    size_t len = e ? e->n_messages : 0;
    char *text = e ? base_strndup(e->messages, len) : NULL;
    pthread_mutex_unlock(&s->lock);
    return parse(text, len);
}

json_t *api_responses_store_items(api_responses_store *s, const char *id, size_t *budget) {
    pthread_mutex_lock(&s->lock);
    const entry *e = find_and_use(s, id);
    size_t len = e ? e->n_items : 0;
    char *text = e && len <= *budget ? base_strndup(e->items, len) : NULL;
    pthread_mutex_unlock(&s->lock);
    *budget -= text ? len : 0;
    return parse(text, len);
}
