// The sampler against a plain float64 model: full sort, libm's exp, one step after the other.
#include "backend/sample/parts.h"
#include "backend/sample/sample.h"
#include "base/base.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_VOCAB = 5000 };

// ---------------------------------------------------------------------------------------------
// Help

static uint64_t state = 1;

static uint64_t bits(void) { // splitmix64: the tests' own, fixed stream
    state += 0x9e3779b97f4a7c15u;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static double unit(void) {
    return (double)(bits() >> 11) * 0x1p-53;
}

static int below(int n) {
    return (int)(bits() % (uint64_t)n);
}

static float normal(void) {
    return (float)(sqrt(-2.0 * log(unit() + 1e-300)) * cos(6.283185307179586 * unit()));
}

static backend_sampling plain(void) {
    return (backend_sampling){.temperature = 1.0f, .top_p = 1.0f, .repetition = 1.0f, .seed = 7};
}

typedef struct run_result {
    backend_output_result r;
    int32_t top_ids[MAX_VOCAB];
    float top_logprobs[MAX_VOCAB];
} run_result;

static void run(run_result *out, const float *logits, int n, const backend_sampling *p,
                int n_logprobs, int position) {
    float copy[MAX_VOCAB];
    memcpy(copy, logits, (size_t)n * sizeof *copy);
    sample_scratch *s = sample_scratch_create(n);
    backend_output o = {.sample = p, .target = 0, .n_logprobs = n_logprobs};
    sample_row(s, copy, n, &o, position, out->top_ids, out->top_logprobs, &out->r);
    sample_scratch_free(s);
}

static int32_t draw(const float *logits, int n, const backend_sampling *p, int position) {
    static run_result out;
    run(&out, logits, n, p, -1, position);
    assert_int_equal(out.r.status, BACKEND_OUTPUT_OK);
    return out.r.id;
}

// ---------------------------------------------------------------------------------------------
// The model

typedef struct entry {
    double logit;
    int32_t id;
} entry;

static int by_logit(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static bool allowed(const backend_sampling *p, int32_t id) {
    if (p->mask != NULL && !(p->mask[id / 32] >> (id % 32) & 1))
        return false;
    for (int i = 0; i < p->n_banned; i++) {
        if (p->banned[i] == id)
            return false;
    }
    return true;
}

static double adjusted(double x, const backend_sampling *p, int32_t id) {
    for (int i = 0; i < p->n_bias; i++) {
        if (p->bias_ids[i] == id)
            x = (float)(x + (double)p->bias_values[i]);
    }
    int seen = 0, output = 0;
    for (int i = 0; i < p->n_history; i++) {
        seen += p->history[i] == id;
        output += i >= p->n_prompt && p->history[i] == id;
    }
    if (seen > 0 && p->repetition != 1.0f)
        x = (float)(x > 0 ? x / (double)p->repetition : x * (double)p->repetition);
    if (output > 0)
        x = (float)(x - (double)p->frequency * output - (double)p->presence);
    return x;
}

// What is left after all filters, by descending logit, with normalised probabilities.
static int model_filter(const float *logits, int n, const backend_sampling *p, entry *kept,
                        double *prob) {
    int m = 0;
    for (int32_t id = 0; id < n; id++) {
        if (allowed(p, id))
            kept[m++] = (entry){adjusted((double)logits[id], p, id), id};
    }
    if (m == 0)
        return 0;
    qsort(kept, (size_t)m, sizeof *kept, by_logit);
    if (p->temperature == 0.0f) {
        prob[0] = 1.0;
        return 1;
    }
    double top = kept[0].logit;
    for (int i = 0; i < m; i++)
        prob[i] = exp((kept[i].logit - top) / (double)p->temperature);
    int k = 0;
    while (k < m && prob[k] >= (double)p->min_p)
        k++;
    m = k;
    if (p->top_k > 0 && p->top_k < m)
        m = p->top_k;
    double total = 0.0, sum = 0.0;
    for (int i = 0; i < m; i++)
        total += prob[i];
    if (p->top_p < 1.0f) {
        for (k = 0; k < m && sum < (double)p->top_p * total; k++)
            sum += prob[k];
        m = k;
        total = sum;
    }
    for (int i = 0; i < m; i++)
        prob[i] /= total;
    return m;
}

// The model's draw: the cumulative distribution in id order.
static int32_t model_draw(const float *logits, int n, const backend_sampling *p, int position) {
    static entry kept[MAX_VOCAB];
    static double prob[MAX_VOCAB], by_id[MAX_VOCAB];
    int m = model_filter(logits, n, p, kept, prob);
    assert_true(m > 0);
    memset(by_id, 0, sizeof by_id);
    for (int i = 0; i < m; i++)
        by_id[kept[i].id] = prob[i];
    const uint32_t key[2] = {(uint32_t)p->seed, (uint32_t)(p->seed >> 32)};
    const uint32_t counter[4] = {(uint32_t)position, p->choice, 0, SAMPLE_STREAM};
    base_rng_block b = base_rng_philox(key, counter);
    double u = base_rng_unit(b.v[0], b.v[1]), sum = 0.0;
    int32_t id = -1;
    for (int i = 0; i < n; i++) {
        if (by_id[i] <= 0.0)
            continue;
        id = i;
        sum += by_id[i];
        if (sum > u)
            break;
    }
    return id;
}

static void expect_model(const float *logits, int n, const backend_sampling *p, int positions) {
    for (int position = 0; position < positions; position++)
        assert_int_equal(draw(logits, n, p, position), model_draw(logits, n, p, position));
}

static const float *random_logits(int n, double scale) {
    static float logits[MAX_VOCAB];
    for (int i = 0; i < n; i++)
        logits[i] = (float)scale * normal();
    return logits;
}

// ---------------------------------------------------------------------------------------------
// Numbers

static void test_exp_log(void **unused) {
    (void)unused;
    for (int i = 0; i < 200000; i++) {
        double x = -708.0 * unit() * unit();
        assert_true(fabs(sample_exp(x) / exp(x) - 1.0) < 1e-14);
    }
    assert_true(sample_exp(0.0) == 1.0);
    assert_true(sample_exp((double)-INFINITY) == sample_exp(-708.0));
    assert_true(sample_exp(-708.0) < SAMPLE_LEAST);
    const float logits[5] = {0.0f, -706.0f, -708.0f, -1e30f, -INFINITY};
    double weights[5];
    sample_weights(weights, logits, 5, 0.0, 1.0, 0.0);
    assert_true(weights[0] == 1.0 && weights[1] > 0.0);
    assert_true(weights[2] == 0.0 && weights[3] == 0.0 && weights[4] == 0.0);
    sample_weights(weights, logits, 5, 0.0, 1e-3, 0.5);
    assert_true(weights[0] == 1.0 && weights[1] == 0.0 && weights[4] == 0.0);
    for (int i = 0; i < 100000; i++) {
        double x = 1.0 + exp(40.0 * unit() - 20.0);
        assert_true(fabs(sample_log(x) - log(x)) <= 1e-14 * (1e-3 + fabs(log(x))));
    }
    assert_true(sample_log(1.0) == 0.0);
    assert_true(fabs(sample_log(163840.0) - log(163840.0)) < 1e-14);
}

static void test_key(void **unused) {
    (void)unused;
    const float ascending[] = {-INFINITY, -3e38f, -1.0f, -1e-45f, 0.0f, 1e-45f, 0.5f, 1.0f, 3e38f};
    for (size_t i = 1; i < sizeof ascending / sizeof *ascending; i++)
        assert_true(sample_key(ascending[i - 1]) < sample_key(ascending[i]));
    assert_int_equal(sample_key(-0.0f), sample_key(0.0f));
}

// ---------------------------------------------------------------------------------------------
// Each parameter alone

static void test_greedy(void **unused) {
    (void)unused;
    for (int n = 1; n < 70; n++) {
        const float *logits = random_logits(n, 3.0);
        backend_sampling p = plain();
        p.temperature = 0.0f;
        p.top_p = 0.3f; // ignored
        p.min_p = 0.5f;
        expect_model(logits, n, &p, 1);
    }
}

static void test_ties(void **unused) {
    (void)unused;
    float logits[100];
    for (int i = 0; i < 100; i++)
        logits[i] = i % 7 == 3 ? 2.0f : -1.0f;
    backend_sampling p = plain();
    p.temperature = 0.0f;
    assert_int_equal(draw(logits, 100, &p, 0), 3);
    p.temperature = 1.0f;
    p.top_k = 2; // exactly two, the lower ids
    bool seen[100] = {false};
    for (int position = 0; position < 200; position++)
        seen[draw(logits, 100, &p, position)] = true;
    for (int i = 0; i < 100; i++)
        assert_int_equal(seen[i], i == 3 || i == 10);
    run_result out;
    run(&out, logits, 100, &p, 16, 0);
    assert_int_equal(out.r.n_top, 16);
    for (int i = 0; i < 14; i++)
        assert_int_equal(out.top_ids[i], 3 + 7 * i);
    assert_int_equal(out.top_ids[14], 0);
    assert_int_equal(out.top_ids[15], 1);
    assert_int_equal(out.r.rank, 1);
    float zeros[3] = {-0.0f, 0.0f, -0.0f};
    p.temperature = 0.0f;
    run(&out, zeros, 3, &p, 3, 0);
    assert_int_equal(out.r.id, 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(out.top_ids[i], i);
}

static void test_temperature(void **unused) {
    (void)unused;
    const float temperatures[] = {0.01f, 0.3f, 0.6f, 1.0f, 2.0f, 50.0f};
    for (size_t i = 0; i < sizeof temperatures / sizeof *temperatures; i++) {
        backend_sampling p = plain();
        p.temperature = temperatures[i];
        expect_model(random_logits(1500, 4.0), 1500, &p, 200);
    }
}

static void test_top_k(void **unused) {
    (void)unused;
    const int ks[] = {1, 2, 10, 500, 1499, 1500, 1501, 1000000};
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
        backend_sampling p = plain();
        p.top_k = ks[i];
        expect_model(random_logits(1500, 1.0), 1500, &p, 100);
    }
}

static void test_top_p(void **unused) {
    (void)unused;
    const float ps[] = {1e-9f, 0.1f, 0.5f, 0.9f, 0.99f, 0.9999f, 0.9999999f, 1.0f};
    for (size_t i = 0; i < sizeof ps / sizeof *ps; i++) {
        for (int scale = 0; scale < 4; scale++) {
            backend_sampling p = plain();
            p.top_p = ps[i];
            expect_model(random_logits(1500, 0.1 + 2.0 * scale), 1500, &p, 60);
        }
    }
    // Tiny: only the most likely id, whatever the draw.
    const float *logits = random_logits(1000, 0.01);
    backend_sampling p = plain(), greedy = plain();
    p.top_p = 1e-9f;
    greedy.temperature = 0.0f;
    for (int position = 0; position < 50; position++)
        assert_int_equal(draw(logits, 1000, &p, position), draw(logits, 1000, &greedy, 0));
    // Equal logits: the prefix is by id, and as short as can be.
    float flat[8] = {0};
    p.top_p = 0.5f;
    int highest = 0;
    for (int position = 0; position < 300; position++) {
        int32_t id = draw(flat, 8, &p, position);
        highest = id > highest ? id : highest;
    }
    assert_int_equal(highest, 3);
}

static void test_min_p(void **unused) {
    (void)unused;
    const float ps[] = {0.0f, 1e-6f, 0.05f, 0.5f, 1.0f};
    for (size_t i = 0; i < sizeof ps / sizeof *ps; i++) {
        backend_sampling p = plain();
        p.min_p = ps[i];
        expect_model(random_logits(1500, 2.0), 1500, &p, 100);
    }
    const float logits[4] = {1.0f, 2.0f, 2.0f, 1.999f};
    backend_sampling p = plain();
    p.min_p = 1.0f;
    bool seen[4] = {false};
    for (int position = 0; position < 100; position++)
        seen[draw(logits, 4, &p, position)] = true;
    assert_true(!seen[0] && seen[1] && seen[2] && !seen[3]);
}

static void test_penalties(void **unused) {
    (void)unused;
    // Prompt 0 0 1, output 2 2 2 3: presence and frequency see the output only.
    const int32_t history[] = {0, 0, 1, 2, 2, 2, 3};
    backend_sampling p = plain();
    p.history = history;
    p.n_history = 7;
    p.n_prompt = 3;
    p.temperature = 0.0f;
    const float logits[5] = {-1.0f, 4.0f, 5.0f, 4.5f, 3.0f};
    p.presence = 0.4f;
    assert_int_equal(draw(logits, 5, &p, 0), 2); // 4.6 against 4.1
    p.presence = 0.0f;
    p.frequency = 0.3f;
    assert_int_equal(draw(logits, 5, &p, 0), 3); // 5 - 0.9 = 4.1 against 4.5 - 0.3
    p.frequency = 0.4f;
    p.presence = 0.2f;
    assert_int_equal(draw(logits, 5, &p, 0), 1); // 3.6, 3.9 against 4
    p.frequency = p.presence = -2.0f;
    assert_int_equal(draw(logits, 5, &p, 0), 2);
    p.frequency = p.presence = 0.0f;
    p.repetition = 2.0f;
    assert_int_equal(draw(logits, 5, &p, 0), 4); // 2, 2.5, 2.25 against 3, once for each id
    p.repetition = 0.5f;
    assert_int_equal(draw(logits, 5, &p, 0), 2);
    // Negative logits are multiplied: a penalty makes them less likely too.
    const float negative[2] = {-1.0f, -1.5f};
    p.repetition = 2.0f;
    p.n_history = 2; // only id 0
    p.n_prompt = 1;
    assert_int_equal(draw(negative, 2, &p, 0), 1);
    // Extreme values stay numbers.
    const float large[3] = {3e38f, 1.0f, 2.0f};
    p.repetition = 1e-30f;
    assert_int_equal(draw(large, 3, &p, 0), 0);
    p.temperature = 1.0f;
    assert_int_equal(draw(large, 3, &p, 0), 0);
}

static void test_scratch_is_clean(void **unused) {
    (void)unused;
    const int32_t history[] = {1, 1, 2, 3, 3};
    backend_sampling p = plain(), q = plain();
    p.history = history;
    p.n_history = 5;
    p.n_prompt = 1;
    p.frequency = 1.0f;
    p.repetition = 1.5f;
    q.repetition = 1.5f;
    sample_scratch *s = sample_scratch_create(5);
    backend_output with = {.sample = &p, .n_logprobs = -1}, none = {.sample = &q, .n_logprobs = -1};
    for (int position = 0; position < 50; position++) {
        float a[5] = {1, 2, 3, 4, 5}, b[5] = {1, 2, 3, 4, 5};
        backend_output_result r;
        sample_row(s, a, 5, &with, position, NULL, NULL, &r);
        assert_int_equal(r.id, model_draw((float[5]){1, 2, 3, 4, 5}, 5, &p, position));
        sample_row(s, b, 5, &none, position, NULL, NULL, &r);
        assert_int_equal(r.id, model_draw((float[5]){1, 2, 3, 4, 5}, 5, &q, position));
    }
    sample_scratch_free(s);
}

static void test_bias_mask_ban(void **unused) {
    (void)unused;
    enum { N = 100 };
    const float *logits = random_logits(N, 5.0);
    const int32_t bias_ids[2] = {42, 43};
    const float up[2] = {100.0f, -100.0f}, down[2] = {-100.0f, -100.0f};
    backend_sampling p = plain();
    p.n_bias = 2;
    p.bias_ids = bias_ids;
    p.bias_values = up;
    for (int position = 0; position < 50; position++)
        assert_int_equal(draw(logits, N, &p, position), 42);
    p.bias_values = down;
    p.temperature = 3.0f;
    for (int position = 0; position < 300; position++) {
        int32_t id = draw(logits, N, &p, position);
        assert_true(id != 42 && id != 43);
    }
    // Bias does not bring back what is forbidden.
    const uint32_t mask[4] = {0xffffffffu, 0xffffffffu & ~(1u << (42 - 32)), 0, 1u << 3};
    p.mask = mask;
    p.bias_values = up;
    bool seen[N] = {false};
    for (int position = 0; position < 3000; position++)
        seen[draw(logits, N, &p, position)] = true;
    p.temperature = 1000.0f;
    p.n_bias = 0;
    for (int position = 0; position < 3000; position++)
        seen[draw(logits, N, &p, position)] = true;
    for (int i = 0; i < N; i++)
        assert_int_equal(seen[i], (i < 64 && i != 42) || i == 99);
    const int32_t banned[3] = {0, 99, 63};
    p.banned = banned;
    p.n_banned = 3;
    memset(seen, 0, sizeof seen);
    for (int position = 0; position < 3000; position++)
        seen[draw(logits, N, &p, position)] = true;
    for (int i = 0; i < N; i++)
        assert_int_equal(seen[i], i < 63 && i != 42 && i != 0);
}

static void test_empty(void **unused) {
    (void)unused;
    const float logits[3] = {1, 2, 3};
    const int32_t all[3] = {2, 1, 0};
    const uint32_t nothing = 0;
    run_result out;
    for (int greedy = 0; greedy < 2; greedy++) {
        backend_sampling p = plain();
        p.temperature = greedy ? 0.0f : 1.0f;
        p.banned = all;
        p.n_banned = 3;
        run(&out, logits, 3, &p, 2, 0);
        assert_int_equal(out.r.status, BACKEND_OUTPUT_EMPTY);
        p.n_banned = 0;
        p.mask = &nothing;
        run(&out, logits, 3, &p, -1, 0);
        assert_int_equal(out.r.status, BACKEND_OUTPUT_EMPTY);
    }
}

static void test_not_finite(void **unused) {
    (void)unused;
    const float bad[3] = {NAN, INFINITY, -INFINITY};
    for (int n = 1; n < 40; n++) {
        for (int at = 0; at < n; at++) {
            for (int kind = 0; kind < 3; kind++) {
                float logits[40] = {0};
                logits[at] = bad[kind];
                backend_sampling p = plain();
                int32_t banned = at; // a ban does not hide it
                p.banned = &banned;
                p.n_banned = 1;
                run_result out;
                run(&out, logits, n, &p, 3, 0);
                assert_int_equal(out.r.status, BACKEND_OUTPUT_NAN);
                assert_int_equal(out.r.n_top, 0);
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------
// Together

static void test_combined(void **unused) {
    (void)unused;
    static uint32_t mask[MAX_VOCAB / 32 + 1];
    int32_t history[300], banned[20], bias_ids[10];
    float bias_values[10];
    for (int round = 0; round < 400; round++) {
        int n = 1 + below(round % 10 == 0 ? MAX_VOCAB : 300);
        const float *logits = random_logits(n, 6.0 * unit());
        backend_sampling p = plain();
        p.seed = bits();
        p.choice = (uint32_t)below(4);
        p.temperature = below(5) == 0 ? 0.0f : (float)(0.05 + 2.0 * unit());
        p.top_p = below(2) ? 1.0f : (float)(0.01 + 0.98 * unit());
        p.top_k = below(2) ? 0 : 1 + below(n + 5);
        p.min_p = below(2) ? 0.0f : (float)(0.2 * unit());
        p.presence = below(2) ? 0.0f : (float)(4.0 * unit() - 2.0);
        p.frequency = below(2) ? 0.0f : (float)(4.0 * unit() - 2.0);
        p.repetition = below(2) ? 1.0f : (float)(0.5 + unit());
        p.history = history;
        p.n_history = below(300);
        p.n_prompt = below(p.n_history + 1);
        for (int i = 0; i < p.n_history; i++)
            history[i] = below(n);
        p.banned = banned;
        p.n_banned = n > 30 ? below(20) : 0;
        for (int i = 0; i < p.n_banned; i++)
            banned[i] = below(n);
        p.bias_ids = bias_ids;
        p.bias_values = bias_values;
        p.n_bias = n > 10 ? below(10) : 0;
        for (int i = 0; i < p.n_bias; i++) {
            bias_ids[i] = i; // each id once
            bias_values[i] = (float)(10.0 * unit() - 5.0);
        }
        if (below(2) && n > 40) {
            for (int i = 0; i < n / 32 + 1; i++)
                mask[i] = (uint32_t)bits() | 0x00010001u;
            mask[n / 64] = 0xffffffffu; // at least 12 of these are not banned
            p.mask = mask;
        }
        expect_model(logits, n, &p, 10);
    }
}

// Pearson's chi-square over fixed draws: fixed seeds, so this passes always or never.
static void test_distribution(void **unused) {
    (void)unused;
    enum { N = 40, DRAWS = 40000 };
    for (int variant = 0; variant < 4; variant++) {
        const float *logits = random_logits(N, 1.0);
        backend_sampling p = plain();
        p.seed = (uint64_t)variant << 32 | 5;
        p.temperature = variant == 1 ? 0.5f : 1.0f;
        p.top_p = variant == 2 ? 0.8f : 1.0f;
        p.top_k = variant == 3 ? 12 : 0;
        int counts[N] = {0};
        for (int i = 0; i < DRAWS; i++)
            counts[draw(logits, N, &p, i)]++;
        static entry kept[N];
        static double prob[N];
        int m = model_filter(logits, N, &p, kept, prob), drawn = 0;
        double chi = 0.0;
        for (int i = 0; i < m; i++) {
            double expected = prob[i] * DRAWS, difference = counts[kept[i].id] - expected;
            chi += difference * difference / expected;
            drawn += counts[kept[i].id];
        }
        assert_int_equal(drawn, DRAWS);
        double freedom = m - 1;
        assert_true(chi < freedom + 3.5 * sqrt(2.0 * freedom));
        assert_true(chi > freedom - 3.5 * sqrt(2.0 * freedom));
    }
}

static void test_streams(void **unused) {
    (void)unused;
    enum { N = 1000, DRAWS = 500 };
    const float *logits = random_logits(N, 0.5);
    backend_sampling p = plain();
    int32_t first[DRAWS];
    for (int i = 0; i < DRAWS; i++)
        first[i] = draw(logits, N, &p, i);
    int same_again = 0, same_choice = 0, same_seed = 0, same_high = 0, same_next = 0;
    for (int i = DRAWS - 1; i >= 0; i--) { // in another order
        p = plain();
        same_again += draw(logits, N, &p, i) == first[i];
        same_next += draw(logits, N, &p, i + 1) == first[i];
        p.choice = 1;
        same_choice += draw(logits, N, &p, i) == first[i];
        p = plain();
        p.seed++;
        same_seed += draw(logits, N, &p, i) == first[i];
        p.seed = plain().seed + (1ull << 32);
        same_high += draw(logits, N, &p, i) == first[i];
    }
    assert_int_equal(same_again, DRAWS);
    assert_true(same_choice < 10 && same_seed < 10 && same_high < 10 && same_next < 10);
}

// ---------------------------------------------------------------------------------------------
// Log-probabilities

static void expect_logprobs(const float *logits, int n, int k, int position) {
    static run_result out;
    static entry sorted[MAX_VOCAB];
    const int32_t bias_id = 0;
    const float bias = 5.0f;
    backend_sampling p = plain();
    p.temperature = 0.7f; // neither this nor the bias shows in the values
    p.n_bias = 1;
    p.bias_ids = &bias_id;
    p.bias_values = &bias;
    run(&out, logits, n, &p, k, position);
    assert_int_equal(out.r.status, BACKEND_OUTPUT_OK);
    double sum = 0.0, max = -1e300;
    for (int i = 0; i < n; i++)
        max = fmax(max, (double)logits[i]);
    for (int i = 0; i < n; i++) {
        sum += exp((double)logits[i] - max);
        sorted[i] = (entry){(double)logits[i], i};
    }
    double lse = max + log(sum);
    qsort(sorted, (size_t)n, sizeof *sorted, by_logit);
    int expected_top = k < n ? k : n, rank = 1;
    assert_int_equal(out.r.n_top, expected_top);
    for (int i = 0; i < expected_top; i++) {
        double expected = sorted[i].logit - lse;
        assert_int_equal(out.top_ids[i], sorted[i].id);
        assert_true(fabs((double)out.top_logprobs[i] - expected) <= 1e-7 * fabs(expected) + 1e-12);
    }
    for (int i = 0; i < n; i++)
        rank += logits[i] > logits[out.r.id];
    double expected = (double)logits[out.r.id] - lse;
    assert_true(fabs((double)out.r.logprob - expected) <= 1e-7 * fabs(expected) + 1e-12);
    assert_int_equal(out.r.rank, rank);
}

static void test_logprobs(void **unused) {
    (void)unused;
    const int ks[] = {0, 1, 5, 20, 21, 1000, 4999, 5000, 6000};
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
        expect_logprobs(random_logits(MAX_VOCAB, 3.0), MAX_VOCAB, ks[i] < 5000 ? ks[i] : 5000, 3);
        expect_logprobs(random_logits(17, 20.0), 17, ks[i] < 17 ? ks[i] : 17, 4);
    }
    float coarse[MAX_VOCAB]; // many ties
    for (int i = 0; i < MAX_VOCAB; i++)
        coarse[i] = (float)(below(50) - 25);
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++)
        expect_logprobs(coarse, MAX_VOCAB, ks[i] < 5000 ? ks[i] : 5000, 5);
}

static void test_logprobs_are_the_rows_alone(void **unused) {
    (void)unused;
    const float *logits = random_logits(3000, 2.0);
    static run_result a, b;
    backend_sampling p = plain(), q = plain();
    q.temperature = 0.0f;
    q.top_k = 3;
    run(&a, logits, 3000, &p, 7, 1);
    run(&b, logits, 3000, &q, 3000, 9);
    assert_memory_equal(a.top_ids, b.top_ids, 7 * sizeof(int32_t));
    assert_memory_equal(a.top_logprobs, b.top_logprobs, 7 * sizeof(float));
}

static void test_target(void **unused) {
    (void)unused;
    const float *logits = random_logits(500, 2.0);
    float copy[500];
    memcpy(copy, logits, sizeof copy);
    sample_scratch *s = sample_scratch_create(500);
    int32_t top_ids[4];
    float top_logprobs[4];
    backend_output o = {.sample = NULL, .target = 77, .n_logprobs = 4};
    backend_output_result r;
    sample_row(s, copy, 500, &o, 0, top_ids, top_logprobs, &r);
    double sum = 0.0;
    int rank = 1;
    for (int i = 0; i < 500; i++) {
        sum += exp((double)logits[i]);
        rank += logits[i] > logits[77];
    }
    assert_int_equal(r.id, 77);
    assert_int_equal(r.n_top, 4);
    assert_int_equal(r.rank, rank);
    assert_true(fabs((double)r.logprob - ((double)logits[77] - log(sum))) < 1e-6);
    sample_scratch_free(s);
}

// The same bits from every compiler, optimisation level and vector width.
static void test_golden(void **unused) {
    (void)unused;
    enum { N = 3001 };
    static float logits[N];
    static run_result out;
    state = 12345;
    uint64_t hash = 0xcbf29ce484222325u;
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < N; i++)
            logits[i] = (float)(20.0 * unit() - 10.0);
        backend_sampling p = plain();
        p.temperature = 0.1f * (float)(round % 20);
        p.top_p = round % 3 == 0 ? 0.9f : 1.0f;
        p.top_k = round % 5 == 0 ? 40 : 0;
        p.min_p = round % 7 == 0 ? 0.02f : 0.0f;
        run(&out, logits, N, &p, 5, round);
        uint32_t words[7] = {(uint32_t)out.r.id, 0, 0, 0, 0, 0, 0};
        memcpy(&words[1], &out.r.logprob, sizeof words[1]);
        memcpy(&words[2], out.top_logprobs, 5 * sizeof words[2]);
        for (int i = 0; i < 7; i++)
            hash = (hash ^ words[i]) * 0x100000001b3u;
    }
    assert_int_equal(hash, 0xac2bad849f5ebd91u);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exp_log),       cmocka_unit_test(test_key),
        cmocka_unit_test(test_greedy),        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_temperature),   cmocka_unit_test(test_top_k),
        cmocka_unit_test(test_top_p),         cmocka_unit_test(test_min_p),
        cmocka_unit_test(test_penalties),     cmocka_unit_test(test_scratch_is_clean),
        cmocka_unit_test(test_bias_mask_ban), cmocka_unit_test(test_empty),
        cmocka_unit_test(test_not_finite),    cmocka_unit_test(test_combined),
        cmocka_unit_test(test_distribution),  cmocka_unit_test(test_streams),
        cmocka_unit_test(test_logprobs),      cmocka_unit_test(test_logprobs_are_the_rows_alone),
        cmocka_unit_test(test_target),        cmocka_unit_test(test_golden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
