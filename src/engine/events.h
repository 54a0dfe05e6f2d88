// A growable ring of events: first in, first out. It grows to the most events that ever waited.
#ifndef ENGINE_EVENTS_H
#define ENGINE_EVENTS_H

#include "engine/engine.h"

typedef struct engine_events {
    engine_event *at;
    size_t head, len, cap; // cap: 0 or a power of two
} engine_events;

engine_event *engine_events_push(engine_events *q); // a zeroed event to fill in
bool engine_events_pop(engine_events *q, engine_event *out);
void engine_events_free(engine_events *q); // with the events in it

#endif
