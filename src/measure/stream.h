// A streamed reply -> when its tokens came, and how many there were.
#ifndef MEASURE_STREAM_H
#define MEASURE_STREAM_H

#include "base/base.h"
#include "measure/client.h"
#include <stdbool.h>

// What is known of a request in the end. Times are base_now_ns; 0: did not happen.
typedef struct measure_reply {
    int64_t due_ns;   // when it should have been sent
    int64_t start_ns; // when it was
    int64_t first_ns; // first chunk with a token
    int64_t last_ns;  // last one
    int64_t end_ns;
    double *gaps; // [n_gaps] seconds between chunks with tokens
    size_t n_gaps, cap_gaps;
    int64_t prompt_tokens, output_tokens; // as the server counts; -1: it did not say
    base_str text;
    bool success;
    int status;
    char *error; // why there was no success; NULL while there is no reply, too
} measure_reply;

void measure_reply_free(measure_reply *r);

typedef struct measure_stream {
    measure_reply *reply;
    bool compat_2025; // every chunk with choices counts as a token; else in chats those with output
    base_str line;    // what has come of a line
    base_str data;    // of the event that is not complete
    base_str head;    // the beginning of the body, for messages of errors
    bool done;        // "[DONE]" has come
    char *broken;     // why the rest is not read
} measure_stream;     // zero-initialised but for the first two is a fresh one

// A piece of the body, read at `at_ns`.
void measure_stream_push(measure_stream *s, const char *bytes, size_t len, int64_t at_ns);
// Judges the reply and frees what the stream holds.
void measure_stream_end(measure_stream *s, const measure_end *end);
void measure_stream_drop(measure_stream *s); // frees it without a judgement

#endif
