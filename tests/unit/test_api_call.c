// Bodies -> calls: what is right gives the parameters it says, what is wrong the status and the
// field. The table of wrong ones is tests/api/wrong_requests.txt.
#include "api/tokenize.h"
#include "api_fixture.h"
#include <openssl/sha.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define CHAT "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

#define SYSTEM "<|im_system|>system<|im_middle|>"
#define USER "<|im_user|>user<|im_middle|>"
#define ASSISTANT "<|im_assistant|>assistant<|im_middle|>"
#define KIMI SYSTEM "You are Kimi, an AI assistant created by Moonshot AI.<|im_end|>"
#define END "<|im_end|>"

static api_fixture fixture;
static api_error error;

static int load(void **state) {
    (void)state;
    api_fixture_make(&fixture);
    return 0;
}

static int release(void **state) {
    (void)state;
    api_fixture_free(&fixture);
    return 0;
}

static api_call *parse_with(const api_options *o, api_kind kind, const char *body) {
    api_call *c;
    int rc = api_call_parse(&c, kind, o, body, strlen(body), "id-1", &error);
    if (rc)
        print_error("%s\n%d %s: %s\n", body, rc, error.param, error.message);
    assert_int_equal(rc, 0);
    assert_int_equal(error.status, 0);
    assert_non_null(c);
    base_err err = {0};
    if (api_fixture_admit(o, c, &err))
        fail_msg("%s: %s", body, err.message);
    return c;
}

static api_call *completion(const char *body) {
    return parse_with(&fixture.options, API_COMPLETION, body);
}

static api_call *chat(const char *body) {
    return parse_with(&fixture.options, API_CHAT, body);
}

static void refused_with(const api_options *o, api_kind kind, const char *body, size_t len,
                         int status, const char *param) {
    api_call *c;
    int rc = api_call_parse(&c, kind, o, body, len, "id-1", &error);
    if (rc != status || strcmp(error.param, param) != 0)
        print_error("%.200s\n%d %s: %s\n", body, rc, error.param, error.message);
    assert_int_equal(rc, status);
    assert_int_equal(error.status, status);
    assert_string_equal(error.param, param);
    assert_true(error.message[0] != 0);
    assert_null(c);
}

static void refused(api_kind kind, const char *body, int status, const char *param) {
    refused_with(&fixture.options, kind, body, strlen(body), status, param);
}

// ---------------------------------------------------------------------------------------------
// Wrong ones

static void refused_by(const char *route, const char *body, size_t len, int status,
                       const char *param) {
    base_str reply = {0};
    if (strcmp(route, "completions") == 0) {
        refused_with(&fixture.options, API_COMPLETION, body, len, status, param);
    } else if (strcmp(route, "chat") == 0) {
        refused_with(&fixture.options, API_CHAT, body, len, status, param);
    } else {
        int rc = strcmp(route, "tokenize") == 0
                     ? api_tokenize(&fixture.options, body, len, &reply, &error)
                     : api_detokenize(&fixture.options, body, len, &reply, &error);
        if (rc != status || strcmp(error.param, param) != 0)
            print_error("%.200s\n%d %s: %s\n", body, rc, error.param, error.message);
        assert_int_equal(rc, status);
        assert_string_equal(error.param, param);
        assert_int_equal(reply.len, 0);
    }
}

static void table_of_wrong_requests(void **state) {
    (void)state;
    base_str file = {0};
    assert_int_equal(
        base_file_read("tests/api/wrong_requests.txt", 1 << 20, BASE_ERR_USAGE, &file, NULL), 0);
    int n = 0;
    for (char *line = file.data, *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        if (line[0] == '#' || line[0] == '\0')
            continue;
        char *fields[5] = {line};
        for (int i = 1; i < 5; i++) {
            fields[i] = strchr(fields[i - 1], '\t');
            assert_non_null(fields[i]);
            *fields[i]++ = '\0';
        }
        const char *param = strcmp(fields[3], "-") == 0 ? "" : fields[3];
        refused_by(fields[1], fields[4], strlen(fields[4]), atoi(fields[2]), param);
        n++;
    }
    assert_true(n >= 300);
    base_str_free(&file);
}

static void repeat(base_str *out, const char *text, size_t n) {
    for (size_t i = 0; i < n; i++)
        base_str_adds(out, text);
}

// "HEAD" + "UNIT" * n + "TAIL"
static void refused_made(api_kind kind, const char *head, const char *unit, size_t n,
                         const char *tail, const char *param) {
    base_str body = {0};
    base_str_adds(&body, head);
    repeat(&body, unit, n);
    base_str_adds(&body, tail);
    refused_with(&fixture.options, kind, body.data, body.len, 400, param);
    base_str_free(&body);
}

static void wrong_requests_that_are_no_text(void **state) {
    (void)state;
    static const struct {
        const char *body;
        size_t len;
    } raw[] = {
        {"", 0},
        {"{\"prompt\":\"a\0b\"}", 16},
        {"{\"prompt\":\"a\"}\0", 15},
        {"{\"prompt\":\"\xe9\"}", 14},
        {"{\"prompt\":\"\xc0\xaf\"}", 15},
        {"{\"prompt\":\"\xed\xa0\x80\"}", 16},
        {"{\"prompt\":\"\xf4\x90\x80\x80\"}", 17},
        {"{\"prompt\":\"\xe4\xb8\"}", 15},
        {"{\"prompt\":\"a\nb\"}", 16},
        {"\xff\xfe{\0", 4},
        {"\xef\xbb\xbf{\"prompt\":\"a\"}", 17},
    };
    for (size_t i = 0; i < sizeof raw / sizeof *raw; i++)
        for (api_kind kind = API_COMPLETION; kind <= API_CHAT; kind++)
            refused_with(&fixture.options, kind, raw[i].body, raw[i].len, 400, "");
    refused_made(API_COMPLETION, "{\"prompt\":", "[", 100000, "", "");
    refused_made(API_CHAT, "", "{\"a\":", 100000, "1", "");
    refused_made(API_COMPLETION, "{\"x\":[", "0,", 9000000, "0]}", "");
    refused_made(API_CHAT, "{\"x\":[", "{},", 300000, "0]}", "");
    refused_made(API_CHAT, "{\"x\":[", "[],", 600000, "0]}", "");
    refused_made(API_COMPLETION, "{\"prompt\":[0", ",0", FIXTURE_CONTEXT, "]}", "prompt");
    refused_made(API_COMPLETION, "{\"prompt\":[[1],[0", ",0", FIXTURE_CONTEXT, "]]}", "prompt[1]");
    refused_made(API_COMPLETION, "{\"prompt\":\"", "\xe2\x98\x83", FIXTURE_CONTEXT, "\"}",
                 "prompt");
    refused_made(API_COMPLETION, "{\"prompt\":\"", "0123456789", 200000, "\"}", "prompt");
    refused_made(API_CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"", "\xe2\x98\x83",
                 FIXTURE_CONTEXT, "\"}]}", "messages");
    refused_made(API_CHAT, "{\"messages\":[{\"role\":\"user\"}", ",{\"role\":\"user\"}", 70000,
                 "]}", "messages");
    refused_made(API_COMPLETION, "{\"prompt\":[\"a\"", ",\"a\"", FIXTURE_CAPACITY, "]}", "prompt");
    refused_made(API_COMPLETION, "{\"prompt\":\"a\",\"stop\":\"", "s", 65537, "\"}", "stop");
    refused_made(API_COMPLETION, "{\"prompt\":\"a\",\"bad_words\":[\"a\"", ",\"a\"", 1024, "]}",
                 "bad_words");
    refused_made(API_COMPLETION, "{\"prompt\":\"a\",\"bad_words\":[\"", "\xe2\x98\x83", 2000,
                 "\"]}", "bad_words");
    refused_made(API_COMPLETION, "{\"prompt\":\"a\",\"stop_token_ids\":[1", ",1", 4096, "]}",
                 "stop_token_ids");
}

static void limits_of_the_server(void **state) {
    (void)state;
    refused(API_COMPLETION, "{\"prompt\":\"a\",\"n\":25}", 400, "n");
    refused(API_COMPLETION, "{\"prompt\":[\"a\",\"b\"],\"n\":13}", 400, "prompt");
    refused(API_COMPLETION, "{\"prompt\":\"a\",\"logprobs\":21}", 400, "logprobs");
    refused(API_COMPLETION, "{\"prompt\":\"a\",\"prompt_logprobs\":-1}", 400, "prompt_logprobs");
    refused(API_CHAT, "{" CHAT ",\"logprobs\":true,\"top_logprobs\":-1}", 400, "top_logprobs");
    refused(API_COMPLETION, "{\"prompt\":[1024]}", 400, "prompt[0]");
    refused(API_COMPLETION, "{\"prompt\":[1,2],\"max_tokens\":4095}", 400, "max_tokens");
    assert_non_null(strstr(error.message, "maximum context length is 4096 tokens"));
    assert_non_null(strstr(error.message, "Please reduce the length of the input"));
    api_call_free(completion("{\"prompt\":[1,2],\"max_tokens\":4094}"));
    refused_made(API_COMPLETION, "{\"prompt\":[0", ",0", FIXTURE_CONTEXT - 1, "]}", "prompt");
    assert_non_null(strstr(error.message, "maximum context length is 4096 tokens"));
    assert_non_null(strstr(error.message, "Please reduce the length of the input"));

    api_options o = fixture.options;
    o.max_logprobs = -1;
    api_call *c = parse_with(&o, API_COMPLETION, "{\"prompt\":\"a\",\"prompt_logprobs\":-1}");
    assert_int_equal(c->params.n_prompt_logprobs, fixture.options.vocab_size);
    api_call_free(c);
    c = parse_with(&o, API_CHAT, "{" CHAT ",\"logprobs\":true,\"top_logprobs\":-1}");
    assert_int_equal(c->params.n_logprobs, fixture.options.vocab_size);
    api_call_free(c);
    o.chat = NULL;
    refused_with(&o, API_CHAT, "{" CHAT "}", strlen("{" CHAT "}"), 400, "messages");
}

// ---------------------------------------------------------------------------------------------
// Right ones

static void defaults(void **state) {
    (void)state;
    api_call *c = completion("{\"prompt\":\"a\"}");
    const engine_params *p = &c->params;
    assert_string_equal(c->id, "cmpl-id-1");
    assert_string_equal(c->model, "kimi");
    assert_true(c->created > 1600000000);
    assert_int_equal(c->n_prompts, 1);
    assert_true(p->n == 1 && p->max_tokens == 16 && p->min_tokens == 0 && !p->has_seed);
    assert_true(p->temperature == 1 && p->top_p == 1 && p->top_k == 0 && p->min_p == 0);
    assert_true(p->presence == 0 && p->frequency == 0 && p->repetition == 1);
    assert_true(p->n_logprobs == -1 && p->n_prompt_logprobs == -1 && !p->ignore_eos);
    assert_true(p->n_stop_ids == 0 && p->n_bias == 0 && p->n_allowed == 0 && p->n_bad_words == 0);
    assert_true(!c->stream && !c->echo && !c->include_usage && !c->logprobs && c->n_stops == 0);
    assert_true(c->skip_special && c->include_reasoning && !c->include_stop && p->cache_salt == 0);
    assert_null(p->allowed_ids);
    assert_int_equal(c->prompts->text.len, 0); // nobody needs it
    api_call_free(c);

    c = chat("{" CHAT "}");
    assert_string_equal(c->id, "chatcmpl-id-1");
    assert_int_equal(c->params.max_tokens, FIXTURE_CONTEXT - (int)c->prompts->ids.len);
    api_call_free(c);

    api_options o = fixture.options;
    o.defaults = (api_defaults){.temperature = 0.6f,
                                .top_p = 0.95f,
                                .min_p = 0.1f,
                                .repetition = 1.1f,
                                .presence = 0.5f,
                                .frequency = -0.5f,
                                .top_k = 40,
                                .max_tokens = 10};
    o.force_include_usage = o.return_tokens_as_token_ids = o.log_requests = true;
    for (api_kind kind = API_COMPLETION; kind <= API_CHAT; kind++) {
        c = parse_with(&o, kind,
                       kind == API_CHAT ? "{" CHAT ",\"stream\":true}"
                                        : "{\"prompt\":\"a\",\"stream\":true}");
        p = &c->params;
        assert_true(p->temperature == 0.6f && p->top_p == 0.95f && p->min_p == 0.1f);
        assert_true(p->repetition == 1.1f && p->presence == 0.5f && p->frequency == -0.5f);
        assert_true(p->top_k == 40 && p->max_tokens == 10);
        assert_true(c->include_usage && c->continuous_usage && c->tokens_as_ids);
        assert_true(c->prompts->text.len > 0);
        api_call_free(c);
        c = parse_with(&o, kind,
                       kind == API_CHAT ? "{" CHAT ",\"max_tokens\":100}"
                                        : "{\"prompt\":\"a\",\"max_tokens\":100}");
        assert_int_equal(c->params.max_tokens, 10); // an upper bound as well
        api_call_free(c);
        c = parse_with(&o, kind,
                       kind == API_CHAT
                           ? "{" CHAT ",\"return_tokens_as_token_ids\":false}"
                           : "{\"prompt\":\"a\",\"return_tokens_as_token_ids\":false}");
        assert_false(c->tokens_as_ids); // the request has the last word
        api_call_free(c);
    }
}

static void numbers(void **state) {
    (void)state;
    api_call *c = completion(
        "{\"model\":\"moonshotai/Kimi-K2-Thinking\",\"prompt\":\"a\",\"n\":3.0,\"max_tokens\":1e2,"
        "\"min_tokens\":7,\"temperature\":0.7,\"top_p\":0.9,\"top_k\":-1,\"min_p\":0.25,"
        "\"presence_penalty\":-2,\"frequency_penalty\":2,\"repetition_penalty\":1.5,\"seed\":-7,"
        "\"ignore_eos\":true,\"logprobs\":20,\"prompt_logprobs\":3,\"length_penalty\":1.0,"
        "\"best_of\":3,\"priority\":0,\"use_beam_search\":false,\"user\":5,\"unknown\":[{}],"
        "\"repetition_detection\":{\"max_pattern_size\":9,\"min_pattern_size\":2,\"min_count\":4},"
        "\"stream_options\":null,\"suffix\":\"\",\"response_format\":{\"type\":\"text\"}}");
    const engine_params *p = &c->params;
    assert_string_equal(c->model, "kimi"); // the first name, whichever was asked for
    assert_true(p->n == 3 && p->max_tokens == 100 && p->min_tokens == 7 && p->ignore_eos);
    assert_true(p->temperature == 0.7f && p->top_p == 0.9f && p->top_k == -1 && p->min_p == 0.25f);
    assert_true(p->presence == -2 && p->frequency == 2 && p->repetition == 1.5f);
    assert_true(p->has_seed && p->seed == (uint64_t)-7);
    assert_true(p->n_logprobs == 20 && p->n_prompt_logprobs == 3);
    assert_true(c->logprobs && c->prompt_logprobs && c->show_prompt_logprobs);
    assert_true(p->repetition_detection.max_pattern == 9 &&
                p->repetition_detection.min_pattern == 2 && p->repetition_detection.min_count == 4);
    api_call_free(c);

    c = completion("{\"prompt\":\"a\",\"seed\":-1,\"temperature\":0.000001,\"n\":1}");
    assert_true(!c->params.has_seed && c->params.temperature == 0);
    api_call_free(c);
    c = completion("{\"prompt\":\"a\",\"seed\":9223372036854775807,\"temperature\":0.005}");
    assert_true(c->params.has_seed && c->params.seed == INT64_MAX &&
                c->params.temperature == 0.01f);
    api_call_free(c);
    // null is as if absent
    c = completion("{\"model\":null,\"prompt\":\"a\",\"n\":null,\"max_tokens\":null,\"seed\":null,"
                   "\"temperature\":null,\"stop\":null,\"logit_bias\":null,\"logprobs\":null,"
                   "\"stream\":null,\"allowed_token_ids\":null,\"bad_words\":null,"
                   "\"response_format\":null,\"guided_json\":null,\"cache_salt\":null}");
    assert_true(c->params.max_tokens == 16 && !c->params.has_seed && c->params.temperature == 1);
    api_call_free(c);
}

// What looks like structure inside a string is none.
static void strings_are_no_structure(void **state) {
    (void)state;
    base_str body = {0};
    base_str_adds(&body, "{\"prompt\":\"a\",\"user\":\"\\\"");
    repeat(&body, "{", 300000);
    base_str_adds(&body, "\\\\\"}");
    api_call_free(completion(body.data));
    base_str_free(&body);
}

static void lists(void **state) {
    (void)state;
    api_call *c = completion(
        "{\"prompt\":\"a\",\"stop\":[\"x\",\"\\u00e9t\\u00e9\"],\"stop_token_ids\":[5,6.0],"
        "\"logit_bias\":{\"7\":-1000,\"0\":2.5},\"allowed_token_ids\":[1,2,3],"
        "\"bad_words\":[\"the\",\" a<|im_end|>\"],\"include_stop_str_in_output\":true,"
        "\"skip_special_tokens\":false,\"return_token_ids\":true,"
        "\"return_tokens_as_token_ids\":true}");
    const engine_params *p = &c->params;
    assert_int_equal(c->n_stops, 2);
    assert_string_equal(c->stops[1], "\xc3\xa9t\xc3\xa9");
    assert_true(c->stop_lens[0] == 1 && c->stop_lens[1] == 5);
    assert_true(c->include_stop && !c->skip_special && c->return_token_ids && c->tokens_as_ids);
    assert_true(p->n_stop_ids == 2 && p->stop_ids[0] == 5 && p->stop_ids[1] == 6);
    assert_int_equal(p->n_bias, 2);
    for (int i = 0; i < 2; i++)
        assert_true(p->bias_ids[i] == 7 ? p->bias_values[i] == -100
                                        : p->bias_ids[i] == 0 && p->bias_values[i] == 2.5f);
    assert_true(p->n_allowed == 3 && p->allowed_ids[0] == 1 && p->allowed_ids[2] == 3);

    static const char *const words[] = {"the", " the", "a<|im_end|>", " a<|im_end|>"};
    assert_int_equal(p->n_bad_words, 4);
    for (int i = 0; i < 4; i++) {
        base_ids ids = {0};
        token_encode(fixture.vocab, words[i], strlen(words[i]), TOKEN_ALLOW_SPECIAL, &ids);
        assert_int_equal(p->bad_word_lens[i], ids.len);
        assert_memory_equal(p->bad_words[i], ids.data, ids.len * sizeof *ids.data);
        base_ids_free(&ids);
    }
    assert_int_equal(p->bad_words[2][p->bad_word_lens[2] - 1],
                     token_control_id(fixture.vocab, "<|im_end|>"));
    api_call_free(c);

    c = completion("{\"prompt\":\"a\",\"stop\":\"x y\",\"stop_token_ids\":[],\"logit_bias\":{},"
                   "\"bad_words\":[]}");
    assert_true(c->n_stops == 1 && strcmp(c->stops[0], "x y") == 0);
    assert_true(c->params.n_stop_ids == 0 && c->params.n_bias == 0 && c->params.n_bad_words == 0);
    api_call_free(c);
}

// Without tools, the markers of tool calls cannot be sampled; bad words of the request stay.
static void chats_ban_tool_markers(void **state) {
    (void)state;
    int n;
    const int32_t *markers = chat_tool_markers(fixture.chat, &n);
    api_call *c =
        chat("{" CHAT ",\"bad_words\":[\"the\"],\"tools\":null,\"tool_choice\":\"none\"}");
    assert_int_equal(c->params.n_bad_words, 2 + n);
    for (int i = 0; i < n; i++)
        assert_true(c->params.bad_word_lens[2 + i] == 1 &&
                    c->params.bad_words[2 + i][0] == markers[i]);
    api_call_free(c);
    c = completion("{\"prompt\":\"a\"}");
    assert_int_equal(c->params.n_bad_words, 0);
    api_call_free(c);
}

static void salts(void **state) {
    (void)state;
    unsigned char digest[SHA256_DIGEST_LENGTH];
    uint64_t want;
    SHA256((const unsigned char *)"tenant", 6, digest);
    memcpy(&want, digest, sizeof want);
    api_call *c = chat("{" CHAT ",\"cache_salt\":\"tenant\"}");
    assert_true(c->params.cache_salt == want);
    api_call_free(c);
}

static void streams(void **state) {
    (void)state;
    static const struct {
        const char *options;
        bool usage, continuous;
    } cases[] = {
        {"null", false, false},
        {"{}", false, false},
        {"{\"include_usage\":true}", true, false},
        {"{\"include_usage\":true,\"continuous_usage_stats\":true}", true, true},
        {"{\"continuous_usage_stats\":true}", false, false},
        {"{\"include_usage\":false,\"other\":1}", false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char body[256];
        snprintf(body, sizeof body, "{" CHAT ",\"stream\":true,\"stream_options\":%s}",
                 cases[i].options);
        api_call *c = chat(body);
        assert_true(c->stream && c->include_usage == cases[i].usage);
        assert_true(c->continuous_usage == cases[i].continuous);
        api_call_free(c);
    }
    api_call *c = completion("{\"prompt\":\"a\",\"stream\":true,\"prompt_logprobs\":0}");
    assert_true(!c->prompt_logprobs && c->params.n_prompt_logprobs == -1);
    api_call_free(c);
}

static void logprobs(void **state) {
    (void)state;
    static const struct {
        api_kind kind;
        const char *fields;
        int n, n_prompt;
        bool show;
    } cases[] = {
        {API_COMPLETION, "\"logprobs\":0", 0, -1, false},
        {API_COMPLETION, "\"logprobs\":5,\"echo\":true", 5, 5, false},
        {API_COMPLETION, "\"logprobs\":5,\"echo\":true,\"stream\":true", 5, 5, false},
        {API_COMPLETION, "\"logprobs\":1,\"echo\":true,\"prompt_logprobs\":3", 1, 3, true},
        {API_COMPLETION, "\"echo\":true", -1, -1, false},
        {API_COMPLETION, "\"prompt_logprobs\":0", -1, 0, true},
        {API_COMPLETION, "\"top_logprobs\":5", -1, -1, false}, // a field of chats
        {API_CHAT, "\"logprobs\":true", 0, -1, false},
        {API_CHAT, "\"logprobs\":true,\"top_logprobs\":4", 4, -1, false},
        {API_CHAT, "\"logprobs\":false,\"top_logprobs\":0", -1, -1, false},
        {API_CHAT, "\"top_logprobs\":null", -1, -1, false},
        {API_CHAT, "\"prompt_logprobs\":2", -1, 2, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char body[256];
        snprintf(body, sizeof body, "{%s,%s}",
                 cases[i].kind == API_CHAT ? CHAT : "\"prompt\":\"a\"", cases[i].fields);
        api_call *c = parse_with(&fixture.options, cases[i].kind, body);
        assert_int_equal(c->params.n_logprobs, cases[i].n);
        assert_int_equal(c->params.n_prompt_logprobs, cases[i].n_prompt);
        assert_int_equal(c->logprobs, cases[i].n >= 0);
        assert_int_equal(c->prompt_logprobs, cases[i].n_prompt >= 0);
        assert_int_equal(c->show_prompt_logprobs, cases[i].show);
        api_call_free(c);
    }
}

static void lengths(void **state) {
    (void)state;
    static const struct {
        api_kind kind;
        const char *fields;
        int max_tokens;
        bool discard;
    } cases[] = {
        {API_COMPLETION, "\"max_tokens\":0,\"echo\":true", 1, true},
        {API_COMPLETION, "\"max_tokens\":1,\"echo\":true", 1, false},
        {API_COMPLETION, "\"max_completion_tokens\":99", 16, false}, // a field of chats
        {API_COMPLETION, "\"min_tokens\":16", 16, false},
        {API_CHAT, "\"max_tokens\":5", 5, false},
        {API_CHAT, "\"max_tokens\":5,\"max_completion_tokens\":6", 6, false},
        {API_CHAT, "\"max_completion_tokens\":7,\"max_tokens\":1000000", 7, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char body[256];
        snprintf(body, sizeof body, "{%s,%s}",
                 cases[i].kind == API_CHAT ? CHAT : "\"prompt\":\"a\"", cases[i].fields);
        api_call *c = parse_with(&fixture.options, cases[i].kind, body);
        assert_int_equal(c->params.max_tokens, cases[i].max_tokens);
        assert_int_equal(c->discard_output, cases[i].discard);
        api_call_free(c);
    }
    // A text that fills the context leaves no room either.
    refused_made(API_COMPLETION, "{\"prompt\":\"", END, FIXTURE_CONTEXT, "\"}", "prompt");
    // A prompt with less room than the default is fine: the engine ends at the context's end.
    base_str body = {0};
    base_str_adds(&body, "{\"prompt\":[0");
    repeat(&body, ",0", FIXTURE_CONTEXT - 2);
    base_str_adds(&body, "]}");
    api_call_free(completion(body.data));
    base_str_free(&body);
}

static void check_ids(const api_prompt *p, const char *text) {
    base_ids ids = {0};
    token_encode(fixture.vocab, text, strlen(text), TOKEN_ALLOW_SPECIAL, &ids);
    assert_int_equal(p->ids.len, ids.len);
    assert_memory_equal(p->ids.data, ids.data, ids.len * sizeof *ids.data);
    base_ids_free(&ids);
}

static void prompts(void **state) {
    (void)state;
    api_call *c =
        completion("{\"prompt\":[\"The answer\",\"<|im_user|>x\"],\"n\":2,\"echo\":true}");
    assert_int_equal(c->n_prompts, 2);
    check_ids(&c->prompts[0], "The answer");
    check_ids(&c->prompts[1], "<|im_user|>x");
    assert_int_equal(c->prompts[1].ids.data[0], token_control_id(fixture.vocab, "<|im_user|>"));
    assert_string_equal(c->prompts[0].text.data, "The answer");
    assert_string_equal(c->prompts[1].text.data, "<|im_user|>x");
    api_call_free(c);

    c = completion("{\"prompt\":[[72,1.0],[3]]}");
    assert_true(c->n_prompts == 2 && c->prompts[0].ids.len == 2 && c->prompts[0].ids.data[0] == 72);
    assert_true(c->prompts[0].ids.data[1] == 1 && c->prompts[1].ids.data[0] == 3);
    api_call_free(c);

    // Ids show their text when it is asked for.
    base_ids ids = {0};
    base_str body = {0};
    token_encode(fixture.vocab, "The water<|im_end|>", 19, TOKEN_ALLOW_SPECIAL, &ids);
    base_str_adds(&body, "{\"echo\":true,\"prompt\":[");
    for (size_t i = 0; i < ids.len; i++)
        base_str_printf(&body, i ? ",%d" : "%d", ids.data[i]);
    base_str_adds(&body, "]}");
    c = completion(body.data);
    assert_true(c->n_prompts == 1 && c->prompts->ids.len == ids.len);
    assert_string_equal(c->prompts->text.data, "The water<|im_end|>");
    api_call_free(c);
    base_str_free(&body);
    base_ids_free(&ids);
}

static void truncation(void **state) {
    (void)state;
    static const struct {
        const char *fields;
        int first, n;
    } cases[] = {
        {"\"truncate_prompt_tokens\":2", 14, 2},
        {"\"truncate_prompt_tokens\":2,\"truncation_side\":\"left\"", 14, 2},
        {"\"truncate_prompt_tokens\":2,\"truncation_side\":\"right\"", 11, 2},
        {"\"truncate_prompt_tokens\":5", 11, 5},
        {"\"truncate_prompt_tokens\":-1,\"max_tokens\":4093", 13, 3},
        {"\"truncate_prompt_tokens\":-1", 11, 5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char body[256];
        snprintf(body, sizeof body, "{\"prompt\":[11,12,13,14,15],%s}", cases[i].fields);
        api_call *c = completion(body);
        assert_int_equal(c->prompts->ids.len, cases[i].n);
        assert_int_equal(c->prompts->ids.data[0], cases[i].first);
        api_call_free(c);
    }
    // Of a text, what is left is shown.
    api_call *c = completion("{\"prompt\":\"a<|im_end|><|im_user|>\",\"truncate_prompt_tokens\":2,"
                             "\"echo\":true}");
    assert_string_equal(c->prompts->text.data, "<|im_end|><|im_user|>");
    api_call_free(c);
    c = chat("{" CHAT ",\"truncate_prompt_tokens\":3,\"max_tokens\":4093}");
    assert_int_equal(c->prompts->ids.len, 3);
    api_call_free(c);
}

// ---------------------------------------------------------------------------------------------
// Chats

static void conversations(void **state) {
    (void)state;
    static const struct {
        const char *fields, *text;
    } cases[] = {
        {CHAT, KIMI USER "hi" END ASSISTANT},
        {"\"messages\":[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"name\":"
         "\"ann\","
         "\"content\":[{\"type\":\"text\",\"text\":\"a\"},\"b\",{\"type\":\"input_text\",\"text\":"
         "\"\"}]}]",
         SYSTEM "S" END "<|im_user|>ann<|im_middle|>ab" END ASSISTANT},
        {"\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\","
         "\"content\":null,\"reasoning_content\":\"r\",\"tool_calls\":[{\"id\":\"functions.f:0\","
         "\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}},"
         "{\"id\":\"functions.g:1\",\"function\":{\"name\":\"g\",\"arguments\":{\"b\":[1,0.5,null,"
         "true,{}],\"a\":\"\\u00e9\"}}}]},"
         "{\"role\":\"tool\",\"name\":\"f\",\"tool_call_id\":\"functions.f:0\",\"content\":\"7\"}]",
         KIMI USER "q" END ASSISTANT
                   "<think>r</think><|tool_calls_section_begin|><|tool_call_begin|>functions.f:0"
                   "<|tool_call_argument_begin|>{\"a\":1}<|tool_call_end|><|tool_call_begin|>"
                   "functions.g:1<|tool_call_argument_begin|>{\"b\": [1, 0.5, null, true, {}], "
                   "\"a\": \"\xc3\xa9\"}<|tool_call_end|><|tool_calls_section_end|>" END
                   "<|im_system|>f<|im_middle|>## Return of functions.f:0\n7" END ASSISTANT},
        {"\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":"
         "\"a\",\"tool_calls\":[]}],\"add_generation_prompt\":false",
         KIMI USER "q" END ASSISTANT "<think></think>a" END},
        {"\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":"
         "\"\",\"reasoning\":\"x\",\"tool_calls\":null}],\"chat_template_kwargs\":{\"thinking\":"
         "true,"
         "\"other\":1},\"documents\":[],\"reasoning_effort\":\"high\",\"parallel_tool_calls\":"
         "false,"
         "\"thinking_token_budget\":-1,\"metadata\":{},\"store\":true,\"service_tier\":\"auto\"",
         KIMI USER "q" END ASSISTANT "<think></think>" END ASSISTANT},
    };
    api_options o = fixture.options;
    o.log_requests = true;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        base_str body = {0};
        base_str_printf(&body, "{%s}", cases[i].fields);
        api_call *c = parse_with(&o, API_CHAT, body.data);
        assert_string_equal(c->prompts->text.data, cases[i].text);
        check_ids(c->prompts, cases[i].text);
        api_call_free(c);
        base_str_free(&body);
    }
}

static void continued_messages(void **state) {
    (void)state;
    api_options o = fixture.options;
    o.log_requests = true;
    api_call *c = parse_with(&o, API_CHAT,
                             "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":"
                             "\"assistant\",\"content\":\"The wat\"}],\"add_generation_prompt\":"
                             "false,\"continue_final_message\":true}");
    const base_str *text = &c->prompts->text;
    assert_true(text->len > 7 && strcmp(text->data + text->len - 7, "The wat") == 0);
    api_call_free(c);
}

// Text of messages becomes a control token only where the server was told so.
static void text_is_no_control_token(void **state) {
    (void)state;
    static const char body[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"<|im_end|>\"}]}";
    int32_t end = token_control_id(fixture.vocab, "<|im_end|>");
    api_options o = fixture.options;
    for (int allow = 0; allow < 2; allow++) {
        o.allow_special = allow;
        api_call *c = parse_with(&o, API_CHAT, body);
        int n = 0;
        for (size_t i = 0; i < c->prompts->ids.len; i++)
            n += c->prompts->ids.data[i] == end;
        assert_int_equal(n, 2 + allow);
        api_call_free(c);
    }
}

// ---------------------------------------------------------------------------------------------
// The tokenizer's routes

static void check_reply(bool tokenize, const char *body, const char *want) {
    base_str reply = {0};
    int rc = tokenize ? api_tokenize(&fixture.options, body, strlen(body), &reply, &error)
                      : api_detokenize(&fixture.options, body, strlen(body), &reply, &error);
    assert_int_equal(rc, 0);
    json_t *got = base_json_parse(reply.data, reply.len, "reply", 1, NULL);
    json_t *wanted = base_json_parse(want, strlen(want), "want", 1, NULL);
    assert_non_null(wanted);
    if (!json_equal(got, wanted))
        fail_msg("%s\nis not\n%s", reply.data, want);
    json_decref(got);
    json_decref(wanted);
    base_str_free(&reply);
}

static void tokenizer_routes(void **state) {
    (void)state;
    int32_t end = token_control_id(fixture.vocab, "<|im_end|>");
    base_ids ids = {0};
    char want[512], body[128];
    token_encode(fixture.vocab, " the\n\xc3\xa9", 7, TOKEN_PLAIN, &ids);
    assert_int_equal(ids.len, 4); // " the", the line break, and the two bytes of an e acute
    snprintf(want, sizeof want,
             "{\"count\":5,\"max_model_len\":4096,\"tokens\":[%d,%d,%d,%d,%d],\"token_strs\":"
             "[\"\xc4\xa0the\",\"\xc4\x8a\",\"\xc3\x83\",\"\xc2\xa9\",\"<|im_end|>\"],"
             "\"prompt\":\" the\\n\xc3\xa9<|im_end|>\"}",
             ids.data[0], ids.data[1], ids.data[2], ids.data[3], end);
    check_reply(true,
                "{\"prompt\":\" the\\n\xc3\xa9<|im_end|>\",\"return_token_strs\":true,"
                "\"add_special_tokens\":false,\"model\":\"kimi\"}",
                want);
    snprintf(body, sizeof body, "{\"tokens\":[%d,%d,%d,%d,%d]}", ids.data[0], ids.data[1],
             ids.data[2], ids.data[3], end);
    check_reply(false, body, "{\"prompt\":\" the\\n\xc3\xa9<|im_end|>\"}");
    base_ids_free(&ids);
    // The bytes that cannot be shown: the ends of their three ranges.
    token_encode(fixture.vocab, "\x7f\xc2\xad", 3, TOKEN_PLAIN, &ids);
    assert_int_equal(ids.len, 3);
    snprintf(want, sizeof want,
             "{\"count\":3,\"max_model_len\":4096,\"tokens\":[%d,%d,%d],\"token_strs\":"
             "[\"\xc4\xa1\",\"\xc3\x82\",\"\xc5\x83\"],\"prompt\":\"\x7f\xc2\xad\"}",
             ids.data[0], ids.data[1], ids.data[2]);
    check_reply(true, "{\"prompt\":\"\x7f\xc2\xad\",\"return_token_strs\":true}", want);
    base_ids_free(&ids);
    check_reply(true, "{\"prompt\":\"\"}",
                "{\"count\":0,\"max_model_len\":4096,\"tokens\":[],\"token_strs\":null,"
                "\"prompt\":\"\"}");
    check_reply(false, "{\"tokens\":[]}", "{\"prompt\":\"\"}");
}

static void tokenizing_chats(void **state) {
    (void)state;
    base_str reply = {0};
    static const char body[] = "{" CHAT ",\"add_generation_prompt\":false}";
    assert_int_equal(api_tokenize(&fixture.options, body, strlen(body), &reply, &error), 0);
    json_t *json = base_json_parse(reply.data, reply.len, "reply", 1, NULL);
    assert_string_equal(json_string_value(json_object_get(json, "prompt")), KIMI USER "hi" END);
    base_ids ids = {0};
    token_encode(fixture.vocab, KIMI USER "hi" END, strlen(KIMI USER "hi" END), TOKEN_ALLOW_SPECIAL,
                 &ids);
    const json_t *tokens = json_object_get(json, "tokens");
    assert_int_equal(json_array_size(tokens), ids.len);
    for (size_t i = 0; i < ids.len; i++)
        assert_int_equal(json_integer_value(json_array_get(tokens, i)), ids.data[i]);
    base_ids_free(&ids);
    json_decref(json);
    base_str_free(&reply);
}

// ---------------------------------------------------------------------------------------------

static void errors_are_printed(void **state) {
    (void)state;
    static const struct {
        int status;
        const char *type;
    } types[] = {{400, "BadRequestError"},
                 {401, "AuthenticationError"},
                 {404, "NotFoundError"},
                 {405, "BadRequestError"},
                 {422, "UnprocessableEntityError"},
                 {429, "RateLimitError"},
                 {500, "InternalServerError"},
                 {501, "NotImplementedError"},
                 {503, "ServiceUnavailableError"}};
    base_str out = {0};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        assert_int_equal(api_fail(&error, types[i].status, "", "x"), types[i].status);
        assert_string_equal(error.type, types[i].type);
    }
    api_fail(&error, 400, "a\n\"b", "say \"%s\"\n\xff", "caf\xc3\xa9");
    api_error_print(&error, &out);
    assert_string_equal(out.data,
                        "{\"error\":{\"message\":\"say \\\"caf\xc3\xa9\\\"??\","
                        "\"type\":\"BadRequestError\",\"param\":\"a?\\\"b\",\"code\":400}}");
    base_str_clear(&out);
    api_fail_field(&error, &(base_err){64, "logit_bias.x: is wrong: very"});
    assert_string_equal(error.param, "logit_bias.x");
    assert_string_equal(error.message, "logit_bias.x: is wrong: very");
    api_fail_field(&error, &(base_err){64, "no field here: none"});
    assert_string_equal(error.param, "");
    api_error_print(&error, &out);
    assert_non_null(strstr(out.data, "\"param\":null"));
    base_str_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_of_wrong_requests),
        cmocka_unit_test(wrong_requests_that_are_no_text),
        cmocka_unit_test(limits_of_the_server),
        cmocka_unit_test(defaults),
        cmocka_unit_test(numbers),
        cmocka_unit_test(strings_are_no_structure),
        cmocka_unit_test(lists),
        cmocka_unit_test(chats_ban_tool_markers),
        cmocka_unit_test(salts),
        cmocka_unit_test(streams),
        cmocka_unit_test(logprobs),
        cmocka_unit_test(lengths),
        cmocka_unit_test(prompts),
        cmocka_unit_test(truncation),
        cmocka_unit_test(conversations),
        cmocka_unit_test(continued_messages),
        cmocka_unit_test(text_is_no_control_token),
        cmocka_unit_test(tokenizer_routes),
        cmocka_unit_test(tokenizing_chats),
        cmocka_unit_test(errors_are_printed),
    };
    return cmocka_run_group_tests(tests, load, release);
}
