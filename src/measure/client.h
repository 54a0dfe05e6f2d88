// Many HTTP requests at once, from one thread: libcurl's multi interface on epoll. Times are those
// at which bytes were read from the socket.
#ifndef MEASURE_CLIENT_H
#define MEASURE_CLIENT_H

#include "base/base.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct measure_client measure_client;

typedef struct measure_client_options {
    const char *base_url;       // "http://127.0.0.1:8000", without a path
    const char *key;            // sent as a bearer token; NULL: none
    const char *const *headers; // [n_headers] "Name: value"
    int n_headers;
    bool insecure;    // certificates are not checked
    double timeout_s; // of a request in all
    int max_open;     // connections; 0: as many as there are requests
} measure_client_options;

// 0, or BASE_ERR_USAGE (the URL), BASE_ERR_RESOURCE.
int measure_client_create(measure_client **out, const measure_client_options *options,
                          base_err *err);
void measure_client_free(measure_client *c); // what runs is dropped without callbacks; NULL is fine

// How a request ended. `status` 0: no reply came; `error` says why ("" for none), also when the
// reply broke off.
typedef struct measure_end {
    int status;
    const char *error;
    int64_t at_ns; // base_now_ns
} measure_end;

typedef struct measure_request {
    const char *path; // "/v1/completions"
    const char *body; // [len] JSON, copied; NULL: a GET
    size_t len;
    const char *request_id; // X-Request-Id; NULL: none
    // Called from measure_client_run: for each piece of the reply's body as it is read, whatever
    // the status, then once for the end. New requests may be started from both.
    void (*on_data)(void *arg, const char *data, size_t len, int64_t at_ns);
    void (*on_end)(void *arg, const measure_end *end);
    void *arg;
} measure_request;

// Starts a request; on_end comes in any case, never from inside this call.
void measure_client_start(measure_client *c, const measure_request *r);
int measure_client_running(const measure_client *c);
// Works until `until_ns` (base_now_ns), or, with 0, until something was done. A signal ends it
// early.
void measure_client_run(measure_client *c, int64_t until_ns);

#endif
