// Progress of a long read: a redrawn line with GB/s and ETA on a terminal, a log line each 10 %
// otherwise.
#ifndef BASE_PROGRESS_H
#define BASE_PROGRESS_H

#include <stdint.h>

typedef struct base_progress base_progress;

base_progress *base_progress_start(const char *title, uint64_t total_bytes);
void base_progress_add(base_progress *p, uint64_t bytes); // from any thread; p may be NULL
void base_progress_end(base_progress *p);                 // prints the last line and frees
double base_progress_seconds(const base_progress *p);     // since the start

#endif
