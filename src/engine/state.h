// What an engine is made of, for the files of this room.
//
// A step is: engine_plan_build, the backend's submit and wait, engine_plan_handle. Building changes
// no request but by preempting and admitting; all results are handled afterwards, so that a later
// version may build a step while the one before is still in flight.
#ifndef ENGINE_STATE_H
#define ENGINE_STATE_H

#include "engine/blocks.h"
#include "engine/events.h"
#include "engine/prefix.h"
#include "engine/request.h"

// The age of a sequence is (request's arrival, choice). Older ones go first everywhere:
//   running[i] is older than running[i + 1]; the waiting list is in the same order
//   the oldest sequence gets rows in every step unless it is held, and is preempted only if it is
//   alone, which engine_limits.max_ids makes impossible. Holds end, so it goes on, and all end.
struct engine {
    backend *backend;
    engine_limits limits;
    engine_blocks blocks;
    engine_prefix prefix;

    engine_seq **running; // [max_num_seqs]
    int n_running;
    engine_seq *waiting, *waiting_tail;
    engine_request **buckets; // [n_buckets] live requests by id
    uint32_t n_buckets;       // a power of two
    engine_request *dead;     // all choices finished; freed when nothing points to them any more
    int64_t n_live;           // choices not finished
    uint64_t n_arrivals;

    // The step being planned: when it began, and the last tick before it of the grid on which holds
    // end: they are rounded up to it, so that many sequences share a step.
    int64_t now_ns, grid_ns, tick_ns;
    int64_t due_ns;    // the tick at which the first hold ends; INT64_MAX: nobody is held
    engine_seq **open; // [max_num_seqs] running and not held, by age; some preempted since
    int n_open;
    // rows_left = max_num_batched_tokens - sum of planned. Each sequence may have one output;
    // spare_outputs are those left for the log-probabilities of prompts.
    int rows_left, spare_outputs;
    bool preempted; // some sequence, in this step
    backend_plan plan;
    int32_t *row_ids;        // [max_num_batched_tokens]
    backend_seq *plan_seqs;  // [max_num_seqs]
    engine_seq **planned;    // [max_num_seqs] whose rows plan_seqs are
    backend_output *outputs; // [max_outputs]

    engine_events events;
    engine_stats stats;                // the counters; the rest is filled in when asked for
    int64_t nan_at_step, slow_step_ms; // faults; -1: none
    bool stalled;                      // another one
};

typedef enum {
    ENGINE_IDLE,    // there is nothing to do
    ENGINE_HELD,    // nothing can be planned before engine.due_ns, unless requests come or go
    ENGINE_STEPPED, // a step was done
} engine_outcome;

// engine.c
// As engine_submit, with a request made before and without the bound on the queue. False, and
// nothing done, when the id is in use.
bool engine_enqueue(engine *e, engine_request *r);
void engine_bury_dead(engine *e);
engine_outcome engine_try_step(engine *e); // as engine_step, without sleeping

// scheduler.c
void engine_waiting_insert(engine *e, engine_seq *s);
void engine_waiting_remove(engine *e, engine_seq *s);
// Takes a running sequence off the list and gives its blocks back.
void engine_running_remove(engine *e, engine_seq *s);
// Lets the next choice that is still NEW wait for admission, if there is one.
void engine_choice_start(engine *e, engine_request *r, int choice);
// The plan has no rows when everybody is held, and may have none when `preempted` is set: then
// another one can have some.
void engine_plan_build(engine *e);

// output.c
void engine_plan_handle(engine *e, const backend_result *result);
void engine_seq_finish(engine *e, engine_seq *s, engine_finish finish, int32_t stop_id,
                       const char *error);
void engine_request_finish(engine *e, engine_request *r, engine_finish finish, const char *error);

#endif
