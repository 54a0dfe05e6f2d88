// Open addressing with linear probing, at most half full.
#include "model/internal.h"

#include <string.h>
#include <xxhash.h>

static model_name_slot *find_slot(model_name_slot *slots, size_t capacity, const char *name) {
    size_t at = (size_t)XXH3_64bits(name, strlen(name)) & (capacity - 1);
    while (slots[at].name && strcmp(slots[at].name, name) != 0)
        at = (at + 1) & (capacity - 1);
    return &slots[at];
}

static bool grow(model_names *t) {
    size_t capacity = t->capacity ? t->capacity * 2 : 64;
    model_name_slot *slots = base_try_calloc(capacity, sizeof *slots);
    if (!slots)
        return false;
    for (size_t i = 0; i < t->capacity; i++)
        if (t->slots[i].name)
            *find_slot(slots, capacity, t->slots[i].name) = t->slots[i];
    base_free(t->slots);
    t->slots = slots;
    t->capacity = capacity;
    return true;
}

model_name_result model_names_add(model_names *t, const char *name, int value) {
    if (t->count * 2 >= t->capacity && !grow(t))
        return MODEL_NAME_NO_MEMORY;
    model_name_slot *slot = find_slot(t->slots, t->capacity, name);
    if (slot->name)
        return MODEL_NAME_TWICE;
    slot->name = name;
    slot->value = value;
    t->count++;
    return MODEL_NAME_ADDED;
}

int model_names_find(const model_names *t, const char *name) {
    if (!t->capacity)
        return -1;
    const model_name_slot *slot = find_slot(t->slots, t->capacity, name);
    return slot->name ? slot->value : -1;
}

void model_names_free(model_names *t) {
    base_free(t->slots);
    *t = (model_names){0};
}
