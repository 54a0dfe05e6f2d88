// --dataset-name random: prompts of a given number of tokens that mean nothing. Every draw comes in
// vLLM's order, and its tokenizer is the model's, so that the prompts are the same.
#include "measure/random.h"
#include "measure/samples.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_ROUNDS = 10 };

typedef struct maker {
    const token_vocab *vocab;
    const measure_random_options *options;
    measure_pcg rng;
    int32_t *allowed; // [n_allowed] ids that are no special tokens
    int n_allowed;
    base_ids prefix, ids;
    base_str text;
    int64_t surplus; // tokens more or fewer than asked for, over all prompts
} maker;

// What the reference tokenizer calls special: unnamed reserved ids are not.
static bool is_special(const token_vocab *vocab, int32_t id) {
    if (!token_is_special(vocab, id))
        return false;
    char unnamed[40];
    int n = snprintf(unnamed, sizeof unnamed, "<|reserved_token_%d|>", (int)id);
    size_t len;
    const char *name = token_bytes(vocab, id, &len);
    return len != (size_t)n || memcmp(name, unnamed, len) != 0;
}

static void list_allowed(maker *m) {
    const int n = token_vocab_size(m->vocab);
    m->allowed = base_calloc((size_t)n, sizeof *m->allowed);
    for (int32_t id = 0; id < n; id++)
        if (!is_special(m->vocab, id))
            m->allowed[m->n_allowed++] = id;
}

static void decode(maker *m) {
    base_str_clear(&m->text);
    token_decoder decoder = {0};
    for (size_t i = 0; i < m->ids.len; i++)
        token_decode(&decoder, m->vocab, m->ids.data[i], false, &m->text);
    token_decode_end(&decoder, &m->text);
}

static void encode(maker *m) {
    m->ids.len = 0;
    token_encode(m->vocab, m->text.data != NULL ? m->text.data : "", m->text.len,
                 TOKEN_ALLOW_SPECIAL, &m->ids);
}

static void add_drawn(maker *m, base_ids *out, size_t n, const int32_t *from, int n_from) {
    for (size_t i = 0; i < n; i++) {
        int64_t at;
        measure_pcg_integers(&m->rng, 0, n_from, 1, &at);
        base_ids_add(out, from != NULL ? from[at] : (int32_t)at);
    }
}

// The text of neighbouring ids is seldom made of these ids: it is read again, cut or filled up, and
// so on until its length is right. Leaves the text and its ids.
static void settle(maker *m, size_t wanted) {
    for (int round = 0;; round++) {
        decode(m);
        encode(m);
        if (m->ids.len == wanted)
            return;
        if (round == MAX_ROUNDS) {
            m->surplus += (int64_t)m->ids.len - (int64_t)wanted;
            return;
        }
        if (m->ids.len < wanted)
            add_drawn(m, &m->ids, wanted - m->ids.len, NULL, token_vocab_size(m->vocab));
        else
            m->ids.len = wanted;
    }
}

static void make_prefix(maker *m) {
    add_drawn(m, &m->prefix, (size_t)m->options->prefix_len, m->allowed, m->n_allowed);
    if (m->options->compat_2025 || m->options->prefix_len == 0)
        return; // vLLM 0.11 left the prefix as it was drawn
    m->ids.len = 0;
    for (size_t i = 0; i < m->prefix.len; i++)
        base_ids_add(&m->ids, m->prefix.data[i]);
    settle(m, m->prefix.len);
    m->prefix.len = 0;
    for (size_t i = 0; i < m->ids.len; i++)
        base_ids_add(&m->prefix, m->ids.data[i]);
}

static int make_prompt(maker *m, int index, int64_t input_len, int64_t output_len, int64_t offset,
                       measure_samples *out, base_err *err) {
    m->ids.len = 0;
    for (size_t i = 0; i < m->prefix.len; i++)
        base_ids_add(&m->ids, m->prefix.data[i]);
    for (int64_t i = 0; i < input_len; i++)
        base_ids_add(&m->ids, m->allowed[(offset + index + i) % m->n_allowed]);
    const size_t wanted = (size_t)(m->options->prefix_len + input_len);
    settle(m, wanted);
    return measure_samples_add_text(out, m->text.data != NULL ? m->text.data : "", m->text.len,
                                    (int)m->ids.len, (int)output_len, err);
}

static int make_prompts(maker *m, measure_samples *out, base_err *err) {
    const measure_random_options *o = m->options;
    const size_t n = (size_t)o->n;
    int64_t *drawn = base_try_calloc(3 * n + 1, sizeof *drawn);
    if (drawn == NULL)
        return base_fail(err, BASE_ERR_RESOURCE, "out of memory for %d prompts", o->n);
    int64_t *input_lens = drawn, *output_lens = drawn + n, *offsets = drawn + 2 * n;
    const double in = o->input_len, out_mean = o->output_len;
    const int64_t out_low = (int64_t)floor(out_mean * (1 - o->output_range));
    const int64_t out_high = (int64_t)ceil(out_mean * (1 + o->output_range));
    measure_pcg_integers(&m->rng, (int64_t)floor(in * (1 - o->input_range)),
                         (int64_t)ceil(in * (1 + o->input_range)) + 1, n, input_lens);
    measure_pcg_integers(&m->rng, out_low > 1 ? out_low : 1, (out_high > 1 ? out_high : 1) + 1, n,
                         output_lens);
    measure_pcg_integers(&m->rng, 0, token_vocab_size(m->vocab), n, offsets);
    make_prefix(m);
    int rc = 0;
    for (int i = 0; rc == 0 && i < o->n; i++)
        rc = make_prompt(m, i, input_lens[i], output_lens[i], offsets[i], out, err);
    base_free(drawn);
    return rc;
}

// The limits keep every sum within an int.
static int check(const measure_random_options *o, base_err *err) {
    enum { MOST = 1 << 28 };
    if (o->n < 0 || o->input_len < 0 || o->input_len > MOST || o->output_len < 0 ||
        o->output_len > MOST || o->prefix_len < 0 || o->prefix_len > MOST)
        return base_fail(err, BASE_ERR_USAGE,
                         "random dataset: numbers of prompts and tokens must be in [0, %d]", MOST);
    if (!(o->input_range >= 0 && o->input_range < 1 && o->output_range >= 0 && o->output_range < 1))
        return base_fail(err, BASE_ERR_USAGE, "--random-range-ratio must be in [0, 1)");
    if (o->prefix_len + floor(o->input_len * (1.0 - o->input_range)) < 1)
        return base_fail(err, BASE_ERR_USAGE,
                         "--random-input-len is too small: with --random-range-ratio %g and "
                         "--random-prefix-len %d a prompt could have no tokens",
                         o->input_range, o->prefix_len);
    return 0;
}

int measure_samples_random(measure_samples *out, const token_vocab *vocab,
                           const measure_random_options *options, base_err *err) {
    *out = (measure_samples){0};
    int rc = check(options, err);
    if (rc != 0)
        return rc;
    maker m = {.vocab = vocab, .options = options};
    measure_pcg_seed(&m.rng, options->seed);
    list_allowed(&m);
    rc = make_prompts(&m, out, err);
    if (rc == 0 && m.surplus != 0)
        base_warn("Across all generated prompts, there were %lld %s tokens than expected after "
                  "decoding and re-encoding",
                  (long long)llabs(m.surplus), m.surplus > 0 ? "more" : "fewer");
    base_free(m.allowed);
    base_ids_free(&m.prefix);
    base_ids_free(&m.ids);
    base_str_free(&m.text);
    if (rc != 0)
        measure_samples_free(out);
    return rc;
}
