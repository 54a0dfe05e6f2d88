// The inside of a server, for the files of this room that serve.
//
// Who may touch what: a lane and its live requests belong to one I/O thread, but for the inbox,
// which has a lock. api_watch has a lock of its own. The rest does not change once requests come.
#ifndef API_SERVER_H
#define API_SERVER_H

#include "api/answer.h"
#include "api/api.h"
#include "api/auth.h"
#include "api/call.h"
#include "api/error.h"
#include "api/work.h"
#include <pthread.h>
#include <stdatomic.h>

// ---------------------------------------------------------------------------------------------
// What the server knows of the work in hand (watch.c)

typedef struct api_watch {
    pthread_mutex_t lock;
    pthread_cond_t changed; // work began, or the server stops
    pthread_cond_t idle;    // one of the two counts has become 0
    pthread_t thread;
    bool running, stop;
    int n_requests;         // not answered completely
    int64_t n_choices;      // given to the engine and not finished
    int64_t busy_since_ns;  // n_choices was 0 before
    int nan_row;            // requests the NaN guard ended since one ended well
    uint64_t nan_seen;      // the engine's count of them
    int64_t last_finish_ns; // of a choice, in this busy time
    double finish_every_ns; // running mean between two ends of choices
} api_watch;

typedef struct api_server api_server;

void api_watch_init(api_watch *w);
void api_watch_destroy(api_watch *w);
int api_watch_start(api_server *s, base_err *err);
void api_watch_stop(api_server *s); // when never started, too
void api_watch_request(api_server *s, int change);
int api_watch_requests(api_server *s);
void api_watch_wait_idle(api_server *s, int64_t timeout_ms); // until there are no requests
void api_watch_wait_engine(api_server *s);                   // until no choice is in the engine
void api_watch_submit(api_server *s, int n_choices);         // before they go to the engine
void api_watch_refused(api_server *s, int n_choices);        // it did not take them
// On the engine's thread, after a step: choices that ended, and whether one did well.
void api_watch_finish(api_server *s, int n_choices, bool well, const engine_stats *stats,
                      int64_t now);
// NULL, or why the engine is not to be given work.
const char *api_watch_trouble(api_server *s);
// 0, or the 503 of a server that shuts down, and of one whose engine is in trouble.
int api_check_open(const api_server *s, api_error *error);
int api_check_ready(api_server *s, api_error *error);
// Seconds until `n_choices` may find room.
int api_watch_retry_after(api_server *s, int n_choices);

// ---------------------------------------------------------------------------------------------
// Metrics and the throughput line (stats.c)

enum { API_N_FINISH = 5 }; // engine_finish

typedef struct api_metrics {
    base_metrics *registry;
    // From the engine's statistics, when somebody asks:
    base_metric *running, *waiting, *cache_usage, *prompt_tokens, *generation_tokens;
    base_metric *prefix_queries, *prefix_hits, *preemptions;
    base_metric *blocks_total, *blocks_free, *steps, *tokens_computed, *nan_guard;
    base_metric *connections, *rank_up, *resident, *virtual_memory, *cpu_seconds, *open_fds,
        *max_fds;
    // As things happen:
    base_metric *finished[API_N_FINISH];
    base_metric *first_token, *token_gap, *request_time, *queue_time, *prefill_time, *decode_time;
    base_metric *iteration_tokens, *prompt_length, *output_length;
    base_metric *relaxed; // keywords of schemas
    base_metric *dropped_calls;
    uint64_t iteration_seen; // tokens counted so far; the engine's thread
} api_metrics;

void api_metrics_create(api_server *s);
void api_metrics_print(api_server *s, base_str *out);
// On the engine's thread, after a step.
void api_metrics_step(api_server *s, const engine_stats *stats);

typedef struct api_interval {
    engine_stats before; // at its begin
    int64_t begin_ns;
    bool was_idle; // the one before
} api_interval;

// Writes the line for the interval that ends now, unless there is nothing to say, and begins the
// next. Returns false when two in a row had nothing.
bool api_stats_line(api_server *s, api_interval *interval, int64_t now);

// ---------------------------------------------------------------------------------------------
// Lanes: events and results on their way to the I/O thread that waits for them (service.c)

enum { API_MAX_LANES = 256 };

typedef struct api_live api_live;

// One request in the engine: a prompt of a live request, found by its id in its lane's table.
typedef struct api_ticket {
    uint64_t id;
    api_live *live;
    int prompt, n_left; // choices not finished
    bool ended;         // by a stop string: the abort that follows is none
    struct api_ticket *next;
} api_ticket;

typedef struct api_event {
    engine_event event;
    int64_t at_ns;
} api_event;

typedef struct api_events {
    api_event *at;
    size_t len, cap;
} api_events;

typedef struct api_lane {
    api_server *server;
    int thread;
    api_events gathered; // the engine's thread: what goes into the inbox next

    pthread_mutex_t lock;
    api_events inbox;
    api_job *jobs; // done by a worker
    bool closed;   // nobody reads it any more: do not wake

    api_events taken;  // the other half of the pair
    api_live *lives;   // all of this thread
    api_live *touched; // by the events of this wake
    api_ticket **table;
} api_lane;

void api_lanes_create(api_server *s);
void api_lanes_close(api_server *s); // from now on no thread is woken
void api_lanes_free(api_server *s);
void api_lane_add(api_lane *l, api_ticket *ticket);
void api_lane_remove(api_lane *l, api_ticket *ticket);
void api_lane_job_done(void *arg, api_job *job); // arg: the lane; any thread
void api_engine_wake(void *arg);                 // of engine_thread_start; arg: the server
void api_on_wake(void *arg, int thread);         // of http_handler; arg: the server

// ---------------------------------------------------------------------------------------------
// Requests with a body, from the body to the reply (serve.c)

void api_serve(api_server *s, http_exchange *x, api_work what);
void api_serve_continue(api_live *live, api_job *job);     // its body has been read; frees the job
void api_serve_take(api_ticket *ticket, api_event *event); // takes the event over
void api_serve_flush(api_lane *l);                         // after the events of one wake
void api_serve_end_all(api_lane *l);                       // the server stops
void api_on_gone(void *arg, http_exchange *x);
void api_job_perform(api_job *job); // any thread

// ---------------------------------------------------------------------------------------------
// Replies (respond.c)

// The X-Request-Id of a request, taken over when it is one we would make, else a new one.
void api_request_id(const http_exchange *x, char id[API_ID_BYTES]);
// An id that only who is told it knows: the X-Request-Id, too, but with something random behind.
void api_secret_id(const http_exchange *x, char id[API_ID_BYTES]);
// `id` NULL: as above. `headers` as http_respond. Writes the access log.
void api_respond(api_server *s, http_exchange *x, const char *id, int status, const char *type,
                 const char *headers, const void *body, size_t len);
void api_respond_json(api_server *s, http_exchange *x, const char *id, const base_str *body);
void api_respond_error(api_server *s, http_exchange *x, const char *id, const api_error *error,
                       const char *headers);
void api_stream_start(api_server *s, http_exchange *x, const char *id);
// Of http_handler.
void api_on_error(void *arg, http_slice path, int status, const char *reason, base_str *body);

// ---------------------------------------------------------------------------------------------
// Routes (route.c) and their small handlers (models.c, admin.c)

bool api_on_head(void *arg, http_exchange *x);
void api_on_request(void *arg, http_exchange *x);
void api_routes_describe(const api_server *s, base_str *out); // a line for each

void api_models_make(api_server *s);
int api_tokenizer_info_make(api_server *s, base_err *err);

void api_get_page(api_server *s, http_exchange *x);
void api_get_models(api_server *s, http_exchange *x);
void api_get_tokenizer_info(api_server *s, http_exchange *x);
void api_get_health(api_server *s, http_exchange *x);
void api_get_live(api_server *s, http_exchange *x);
void api_get_version(api_server *s, http_exchange *x);
void api_get_load(api_server *s, http_exchange *x);
void api_get_metrics(api_server *s, http_exchange *x);

// ---------------------------------------------------------------------------------------------

struct api_server {
    api_options options;
    int64_t created_s;
    api_keys *keys;
    base_str models, tokenizer_info; // bodies that never change
    api_metrics metrics;
    api_watch watch;
    api_pool *pool;
    engine_thread *engine;
    api_lane *lanes; // [n_lanes]
    int n_lanes;
    http_server *http;
    // http_server_start lets requests in before it has returned: they wait here until it has.
    pthread_mutex_t gate;
    _Atomic bool open, draining, ending;
    _Atomic uint64_t last_id, n_seeds_drawn;
    _Atomic int64_t relaxed_logged_ns; // when keywords that were relaxed were logged last
};

#endif
