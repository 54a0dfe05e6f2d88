// Bodies that take long to read go to a few worker threads, so that no stream of the I/O thread
// they came in on has to wait for them.
#ifndef API_WORK_H
#define API_WORK_H

#include "api/call.h"

// What a body asks for.
typedef enum {
    API_WORK_COMPLETION,
    API_WORK_CHAT,
    API_WORK_MESSAGES,
    API_WORK_COUNT_TOKENS,
    API_WORK_RESPONSES,
    API_WORK_TOKENIZE,
    API_WORK_DETOKENIZE
} api_work;

// A body and what became of it. `live` is the I/O thread's, which alone may touch it: NULL once the
// client is gone. Everything else is the worker's until the job is done.
typedef struct api_job {
    const api_options *options;
    api_work what;
    const char *text; // [len] the body
    size_t len;
    base_str body; // owns `text`, or is empty
    char request_id[API_ID_BYTES];
    struct api_live *live;
    void (*done)(void *arg, struct api_job *job);
    void *done_arg;
    // The result: `error` if its status is not 0, else `call`, else `reply`.
    api_call *call;
    base_str reply;
    api_error error;
    struct api_job *next;
} api_job;

void api_job_free(api_job *job); // NULL is fine

typedef struct api_pool api_pool;

// At most `max_jobs` and `max_bytes` of bodies wait. BASE_ERR_RESOURCE when no thread can be had.
int api_pool_create(api_pool **out, int n_threads, int max_jobs, size_t max_bytes,
                    void (*perform)(api_job *job), base_err *err);
// Ends the threads after the job they are at; jobs that wait are freed. NULL is fine.
void api_pool_free(api_pool *p);
// Performs the job in a worker, which then calls job->done. False, and nothing done: full.
bool api_pool_add(api_pool *p, api_job *job);

#endif
