// Expert selection (kimi.md 3.5): sigmoid scores, a correction bias that decides the choice but not
// the weight, optional groups, the k best, ties to the lower index.
#include "backend/cpu/cpu.h"
#include <math.h>
#include <string.h>

typedef struct route_job {
    cpu_backend *b;
    const float *bias;
    const int *forced; // [rows][top_k] of this layer: taken instead of choosing; else NULL
    int *traced;       // [rows][top_k] of this layer: what was chosen is kept here; else NULL
} route_job;

// Masks the choices of all groups but the topk_group best to 0, as the model's own code does; a
// group's score is the sum of its two largest choices. `score` [n_group] is scratch.
static void mask_groups(const model_config *c, float *choice, float *score) {
    int size = c->n_routed_experts / c->n_group;
    for (int g = 0; g < c->n_group; g++) {
        float first = -INFINITY, second = -INFINITY;
        for (int e = g * size; e < (g + 1) * size; e++) {
            if (choice[e] > first) {
                second = first;
                first = choice[e];
            } else if (choice[e] > second) {
                second = choice[e];
            }
        }
        score[g] = size > 1 ? first + second : first;
    }
    for (int g = 0; g < c->n_group; g++) {
        int better = 0;
        for (int o = 0; o < c->n_group; o++)
            better += score[o] > score[g] || (score[o] == score[g] && o < g);
        if (better >= c->topk_group)
            memset(choice + g * size, 0, (size_t)size * sizeof *choice);
    }
}

// Inserts expert e, higher than all before it, into the n <= k best so far, kept by descending
// choice; on equal choices the lower index stays ahead.
static void keep_best(const float *choice, int *best, int n, int k, int e) {
    int i = n;
    if (n == k) {
        if (!(choice[e] > choice[best[k - 1]]))
            return;
        i = k - 1;
    }
    for (; i > 0 && choice[e] > choice[best[i - 1]]; i--)
        best[i] = best[i - 1];
    best[i] = e;
}

static void sort_ascending(int *v, int n) {
    for (int i = 1; i < n; i++) {
        int x = v[i], j = i;
        for (; j > 0 && v[j - 1] > x; j--)
            v[j] = v[j - 1];
        v[j] = x;
    }
}

// The margin between the last expert chosen and the best one left, relative to the former.
static bool is_near_tie(const model_config *c, const float *choice, const int *best) {
    int k = c->n_experts_per_tok;
    float last = choice[best[k - 1]], next = -INFINITY;
    for (int e = 0; e < c->n_routed_experts; e++) {
        bool chosen = false;
        for (int i = 0; i < k; i++)
            chosen = chosen || best[i] == e;
        if (!chosen && choice[e] > next)
            next = choice[e];
    }
    return last - next < 1e-6f * fabsf(last);
}

// The k experts of one row, ascending, from its scores [n]; choice [n] and what follows is scratch.
static void choose(cpu_backend *b, const float *bias, const float *score, float *choice, int *best,
                   int worker) {
    const model_config *c = b->config;
    int n = c->n_routed_experts, k = c->n_experts_per_tok;
    // A NaN would compare false everywhere and leave slots unfilled. As the best of all it is
    // chosen and reaches the logits through the weight.
    for (int e = 0; e < n; e++)
        choice[e] = isnan(score[e]) ? INFINITY : score[e] + bias[e];
    if (c->n_group > 1)
        mask_groups(c, choice, choice + n);
    for (int e = 0; e < n; e++)
        keep_best(choice, best, e < k ? e : k, k, e);
    if (k < n && is_near_tie(c, choice, best))
        b->near_ties[worker]++;
    sort_ascending(best, k);
}

static void weigh(const model_config *c, const float *score, const int *chosen, float *weight) {
    int k = c->n_experts_per_tok;
    float sum = 0.0f;
    for (int i = 0; i < k; i++) {
        weight[i] = score[chosen[i]];
        sum += weight[i];
    }
    for (int i = 0; i < k; i++) {
        if (c->norm_topk_prob)
            weight[i] /= sum + 1e-20f;
        weight[i] *= (float)c->routed_scaling_factor;
    }
}

static void route_row(void *arg, int row, int worker) {
    const route_job *job = arg;
    cpu_backend *b = job->b;
    size_t n = (size_t)b->config->n_routed_experts, k = (size_t)b->config->n_experts_per_tok;
    float *score = b->workers[worker].route;
    const float *logits = b->router_logits + (size_t)row * b->router_stride;
    for (size_t e = 0; e < n; e++)
        score[e] = -logits[e];
    b->k->exp_f32(score, score, (int)n);
    for (size_t e = 0; e < n; e++)
        score[e] = 1.0f / (1.0f + score[e]);

    int *chosen = b->slot_expert + (size_t)row * k;
    if (job->forced)
        memcpy(chosen, job->forced + (size_t)row * k, k * sizeof *chosen);
    else
        choose(b, job->bias, score, score + n, chosen, worker);
    if (job->traced)
        memcpy(job->traced + (size_t)row * k, chosen, k * sizeof *chosen);
    weigh(b->config, score, chosen, b->slot_weight + (size_t)row * k);
}

// Counting sort of (row, slot) by expert; rows ascend inside a group.
static void group_rows(cpu_backend *b, int rows) {
    int n = b->config->n_routed_experts, k = b->config->n_experts_per_tok;
    int *next = b->group_of_expert;
    for (int e = 0; e < n; e++)
        next[e] = 0;
    for (int i = 0; i < rows * k; i++)
        next[b->slot_expert[i]]++;
    b->n_groups = 0;
    for (int e = 0, first = 0; e < n; e++) {
        int count = next[e];
        if (count > 0)
            b->groups[b->n_groups++] = (cpu_group){.expert = e, .first = first, .count = count};
        next[e] = first;
        first += count;
    }
    for (int i = 0; i < rows * k; i++) {
        int at = next[b->slot_expert[i]]++;
        b->assign_row[at] = i / k;
        b->assign_weight[at] = b->slot_weight[i];
    }
}

void cpu_route(cpu_backend *b, int layer, int rows) {
    route_job job = {.b = b, .bias = b->weights.layers[layer].router_bias};
    size_t first = (size_t)layer * b->options.max_rows * (size_t)b->config->n_experts_per_tok;
    if (b->route_mode == CPU_ROUTE_FORCED)
        job.forced = b->route_trace + first;
    else if (b->route_mode == CPU_ROUTE_TRACED)
        job.traced = b->route_trace + first;
    base_pool_run(b->pool, rows, route_row, &job);
    group_rows(b, rows);
}
