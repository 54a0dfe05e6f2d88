// The tokenizer of a synthetic checkpoint: an existing one's files, or a generated vocabulary.
//
// A generated vocabulary must look like a learned one: every token is the concatenation of two
// earlier ones and is what byte-pair merging of its own bytes gives. So tokens are not listed but
// grown: a text is merged with the tokens there are, and the first two pieces become the next
// token, until the text is one token. First a few hundred common words, then whatever it takes to
// fill the number asked for: letter pairs, digits, Han characters, letter triples and so on.
#include "model/synth.h"
#include "token/token.h"
#include <openssl/evp.h>
#include <string.h>
#include <xxhash.h>

enum { MAX_TEXT = 32, TOKENIZER_FILE_LIMIT = 64 << 20 };

// In piece form (a leading space belongs to the word). Order matters: what comes first is short.
static const char *const words[] = {
    " the",
    " and",
    " of",
    " to",
    " in",
    " a",
    " is",
    " that",
    " it",
    " for",
    " was",
    " on",
    " are",
    " with",
    " as",
    " be",
    " at",
    " you",
    " this",
    " have",
    " from",
    " or",
    " not",
    " by",
    " but",
    " what",
    " all",
    " were",
    " we",
    " when",
    " your",
    " can",
    " there",
    " an",
    " each",
    " which",
    " do",
    " how",
    " their",
    " if",
    " will",
    " up",
    " other",
    " about",
    " out",
    " many",
    " then",
    " them",
    " these",
    " so",
    " some",
    " her",
    " would",
    " make",
    " like",
    " into",
    " time",
    " has",
    " two",
    " more",
    " write",
    " go",
    " see",
    " number",
    " no",
    " way",
    " could",
    " people",
    " my",
    " than",
    " first",
    " water",
    " been",
    " call",
    " who",
    " its",
    " now",
    " find",
    " long",
    " day",
    " get",
    " come",
    " made",
    " may",
    " part",
    " answer",
    " question",
    " think",
    " know",
    " city",
    "The",
    "What",
    "How",
    "Answer",
    "Question",
    "I",
    "ing",
    "tion",
    "ed",
    "er",
    "ly",
    "es",
    "ment",
    "  ",
    "    ",
    "\n\n",
    "\n",
    ".\n",
    ",\n",
    "://",
    "00",
    "10",
    "20",
    "19",
    "100",
    "\":",
    "\",",
    " \"",
    " {",
    "{\"",
    "\"}",
    "},",
    " [",
    "[{",
    "}]",
    "()",
    ");",
    " =",
    " ==",
    " +",
    " -",
    " *",
    "name",
    "type",
    "string",
    "object",
    "properties",
    "description",
    "required",
    "arguments",
    "function",
    "functions",
    "value",
    "true",
    "false",
    "null",
    "return",
    "int",
    "for",
    "if",
    "get",
    "weather",
    "location",
    "user",
    "assistant",
    "system",
    "tool",
    "Kimi",
    " AI",
    " model",
    "\xe7\x9a\x84",
    "\xe4\xb8\x80",
    "\xe6\x98\xaf",
    "\xe4\xb8\x8d",
    "\xe4\xba\x86",
    "\xe4\xba\xba",
    "\xe6\x88\x91",
    "\xe5\x9c\xa8",
    "\xe6\x9c\x89",
    "\xe4\xbb\x96",
    "\xe8\xbf\x99",
    "\xe4\xb8\xad",
    "\xe5\xa4\xa7",
    "\xe6\x9d\xa5",
    "\xe4\xb8\x8a",
    "\xe5\x9b\xbd",
    "\xef\xbc\x8c",
    "\xe3\x80\x82",
    "\xe4\xbd\xa0\xe5\xa5\xbd",
    "\xe4\xb8\xad\xe5\x9b\xbd",
    "\xe4\xb8\x96\xe7\x95\x8c",
};

// Kimi's named control tokens by their distance from the first one. "special" ones are dropped when
// output is shown; the others carry structure that parsers need.
static const struct {
    int offset;
    const char *name;
    bool special;
} controls[] = {
    {0, "[BOS]", true},
    {1, "[EOS]", true},
    {2, "<|im_end|>", true},
    {3, "<|im_user|>", true},
    {4, "<|im_assistant|>", true},
    {6, "<|start_header_id|>", true},
    {7, "<|end_header_id|>", true},
    {9, "[EOT]", true},
    {10, "<|im_system|>", true},
    {11, "<|tool_calls_section_begin|>", false},
    {12, "<|tool_calls_section_end|>", false},
    {13, "<|tool_call_begin|>", false},
    {14, "<|tool_call_argument_begin|>", false},
    {15, "<|tool_call_end|>", false},
    {17, "<|im_middle|>", true},
    {18, "<|media_begin|>", true},
    {19, "<|media_content|>", true},
    {20, "<|media_end|>", true},
    {21, "<|media_pad|>", true},
    {22, "<think>", false},
    {23, "</think>", false},
    {254, "[UNK]", true},
    {255, "[PAD]", true},
};
enum { N_CONTROLS = sizeof controls / sizeof controls[0], BOS = 0, END = 2, PAD = N_CONTROLS - 1 };

// ---------------------------------------------------------------------------------------------
// A growing set of tokens

typedef struct grower {
    char (*text)[MAX_TEXT]; // [wanted]
    uint8_t *len;           // [wanted]
    int n, wanted;
    int32_t *slots; // [n_slots] open addressing: rank + 1, 0 is free
    uint32_t n_slots;
} grower;

static void grower_init(grower *g, int wanted) {
    *g = (grower){.wanted = wanted, .n_slots = 1024};
    while (g->n_slots < 2 * (uint32_t)wanted)
        g->n_slots *= 2;
    g->text = base_calloc(wanted, sizeof *g->text);
    g->len = base_calloc(wanted, 1);
    g->slots = base_calloc(g->n_slots, sizeof *g->slots);
}

static void grower_free(grower *g) {
    base_free(g->text);
    base_free(g->len);
    base_free(g->slots);
}

// The slot where `text` is or would be.
static int32_t *find(const grower *g, const char *text, int len) {
    uint32_t at = (uint32_t)XXH3_64bits(text, len) & (g->n_slots - 1);
    while (g->slots[at]) {
        int rank = g->slots[at] - 1;
        if (g->len[rank] == len && memcmp(g->text[rank], text, len) == 0)
            break;
        at = (at + 1) & (g->n_slots - 1);
    }
    return &g->slots[at];
}

static void add_token(grower *g, const char *text, int len) {
    memcpy(g->text[g->n], text, len);
    g->len[g->n] = (uint8_t)len;
    *find(g, text, len) = ++g->n;
}

// Byte-pair merging of `text`; fills the lengths of the pieces and returns how many there are.
static int merge(const grower *g, const char *text, int len, int pieces[MAX_TEXT]) {
    int n = len;
    for (int i = 0; i < n; i++)
        pieces[i] = 1;
    for (;;) {
        int best = -1, best_rank = 0;
        for (int i = 0, at = 0; i + 1 < n; at += pieces[i++]) {
            int rank = *find(g, text + at, pieces[i] + pieces[i + 1]);
            if (rank && (best < 0 || rank < best_rank))
                best = i, best_rank = rank;
        }
        if (best < 0)
            return n;
        pieces[best] += pieces[best + 1];
        n--;
        memmove(pieces + best + 1, pieces + best + 2, (n - best - 1) * sizeof *pieces);
    }
}

// Adds tokens until `text` is one, or as many as are wanted. Merging never crossed the boundary of
// the first two pieces, nor the one after them, so merging the new token's bytes alone ends in just
// these two, and then in the token: it can be reached. Later tokens have higher ranks and change
// nothing about that.
static void grow(grower *g, const char *text, int len) {
    int pieces[MAX_TEXT];
    while (g->n < g->wanted && merge(g, text, len, pieces) > 1)
        add_token(g, text, pieces[0] + pieces[1]);
}

// All strings of `len` characters of `alphabet`, each also with a space before it if `spaced`.
static void grow_strings(grower *g, const char *alphabet, int len, bool spaced) {
    int base = (int)strlen(alphabet), digits[MAX_TEXT] = {0};
    char text[MAX_TEXT] = " ";
    while (g->n < g->wanted) {
        for (int i = 0; i < len; i++)
            text[1 + i] = alphabet[digits[i]];
        grow(g, text + 1, len);
        if (spaced)
            grow(g, text, len + 1);
        int i = len - 1;
        while (i >= 0 && ++digits[i] == base)
            digits[i--] = 0;
        if (i < 0)
            return;
    }
}

static void grow_han(grower *g) {
    for (unsigned c = 0x4e00; c <= 0x9fa5 && g->n < g->wanted; c++) {
        const char text[3] = {(char)(0xe0 | c >> 12), (char)(0x80 | (c >> 6 & 0x3f)),
                              (char)(0x80 | (c & 0x3f))};
        grow(g, text, 3);
    }
}

// Ranks of single bytes are GPT-2's: printable Latin-1 first, the others after.
static void grow_bytes(grower *g) {
    for (int pass = 0; pass < 2; pass++)
        for (int b = 0; b < 256; b++) {
            bool printable = (b >= 33 && b <= 126) || (b >= 161 && b != 173);
            char text = (char)b;
            if (printable == (pass == 0))
                add_token(g, &text, 1);
        }
}

static void grow_all(grower *g) {
    static const char lower[] = "etaoinshrdlucmfwygpbvkjxqz";
    grow_bytes(g);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        grow(g, words[i], (int)strlen(words[i]));
    grow_strings(g, lower, 2, true);
    grow_strings(g, "ABCDEFGHIJKLMNOPQRSTUVWXYZ", 2, false);
    grow_strings(g, "0123456789", 2, false);
    grow_strings(g, "0123456789", 3, false);
    grow_han(g);
    for (int len = 3; g->n < g->wanted; len++)
        grow_strings(g, lower, len, true);
}

// ---------------------------------------------------------------------------------------------
// The files

static void print_model(const grower *g, base_str *out) {
    for (int i = 0; i < g->n; i++) {
        unsigned char text[4 * MAX_TEXT];
        EVP_EncodeBlock(text, (const unsigned char *)g->text[i], g->len[i]);
        base_str_printf(out, "%s %d\n", (const char *)text, i);
    }
}

static json_t *control_entry(int control) {
    return json_pack("{s:s, s:b, s:b, s:b, s:b, s:b}", "content", controls[control].name, "lstrip",
                     0, "normalized", 0, "rstrip", 0, "single_word", 0, "special",
                     controls[control].special);
}

static void print_config(int n_ordinary, base_str *out) {
    json_t *added = json_object(), *special = json_array();
    for (int i = 0; i < N_CONTROLS; i++) {
        char id[16];
        snprintf(id, sizeof id, "%d", n_ordinary + controls[i].offset);
        json_object_set_new(added, id, control_entry(i));
        if (controls[i].special && i > 1 && i < N_CONTROLS - 2)
            json_array_append_new(special, json_string(controls[i].name));
    }
    json_t *config = json_pack(
        "{s:o, s:o, s:s, s:b, s:s, s:{}, s:f, s:s, s:s, s:s, s:{s:[s,n]}}", "added_tokens_decoder",
        added, "additional_special_tokens", special, "bos_token", "[BOS]",
        "clean_up_tokenization_spaces", 0, "eos_token", "[EOS]", "extra_special_tokens",
        "model_max_length", 1e30, "pad_token", "[PAD]", "tokenizer_class", "TikTokenTokenizer",
        "unk_token", "[UNK]", "auto_map", "AutoTokenizer", "tokenization_kimi.TikTokenTokenizer");
    synth_config_print(config, out);
    json_decref(config);
}

int synth_tokenizer_generate(synth_tokenizer *out, int vocab_size, base_err *err) {
    *out = (synth_tokenizer){0};
    if (vocab_size < 256 + SYNTH_CONTROL_TOKENS)
        return base_fail(err, BASE_ERR_USAGE,
                         "vocab_size %d: a generated vocabulary needs at least %d (every byte and "
                         "%d control tokens)",
                         vocab_size, 256 + SYNTH_CONTROL_TOKENS, SYNTH_CONTROL_TOKENS);
    grower g;
    grower_init(&g, vocab_size - SYNTH_CONTROL_TOKENS);
    grow_all(&g);
    print_model(&g, &out->model);
    grower_free(&g);
    out->n_ordinary = vocab_size - SYNTH_CONTROL_TOKENS;
    out->n_ids = vocab_size;
    out->bos = out->n_ordinary + controls[BOS].offset;
    out->eos = out->n_ordinary + controls[END].offset;
    out->pad = out->n_ordinary + controls[PAD].offset;
    print_config(out->n_ordinary, &out->config);
    return 0;
}

static int read_file(const char *dir, const char *name, base_str *out, base_err *err) {
    char *path = base_path_join(dir, name);
    int code = base_file_read(path, TOKENIZER_FILE_LIMIT, BASE_ERR_MODEL, out, err);
    base_free(path);
    return code;
}

int synth_tokenizer_read(synth_tokenizer *out, const char *dir, base_err *err) {
    *out = (synth_tokenizer){0};
    token_vocab *vocab;
    int code = token_vocab_load(&vocab, dir, err);
    if (code)
        return code;
    out->n_ids = token_vocab_size(vocab);
    out->n_ordinary = token_vocab_ordinary(vocab);
    out->bos = token_control_id(vocab, controls[BOS].name);
    out->eos = token_control_id(vocab, controls[END].name);
    out->pad = token_control_id(vocab, controls[PAD].name);
    token_vocab_free(vocab);
    if (out->eos < 0)
        return base_fail(err, BASE_ERR_MODEL, "%s/tokenizer_config.json: no token %s", dir,
                         controls[END].name);
    if ((code = read_file(dir, "tiktoken.model", &out->model, err)))
        return code;
    return read_file(dir, "tokenizer_config.json", &out->config, err);
}

void synth_tokenizer_free(synth_tokenizer *t) {
    base_str_free(&t->model);
    base_str_free(&t->config);
    *t = (synth_tokenizer){0};
}
