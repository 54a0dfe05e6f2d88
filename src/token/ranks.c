// Reading tiktoken.model: a line "BASE64 RANK" for each token.
#include "token/vocab.h"
#include <string.h>

typedef struct line {
    const char *text;
    size_t len;
    int number; // counted from 1
} line;

typedef struct entry {
    uint32_t start, len; // in the bytes read so far
    int32_t rank;
    int line;
} entry;

typedef struct entries {
    entry *data;
    size_t len, cap;
} entries;

static int sextet(char c) {
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : -1;
}

// Appends what `text` stands for; false unless it is canonical base64 with its padding.
static bool add_base64(base_str *out, const char *text, size_t len) {
    if (len == 0 || len % 4)
        return false;
    size_t padding =
        (size_t)(text[len - 1] == '=') + (text[len - 1] == '=' && text[len - 2] == '=');
    uint32_t group = 0;
    for (size_t i = 0; i < len; i++) {
        int value = i < len - padding ? sextet(text[i]) : 0;
        if (value < 0)
            return false;
        group = group << 6 | (uint32_t)value;
        if (i % 4 < 3)
            continue;
        size_t kept = i == len - 1 ? 3 - padding : 3;
        if (group & ((1u << (8 * (3 - kept))) - 1))
            return false; // bits that no byte holds
        unsigned char bytes[3] = {(unsigned char)(group >> 16), (unsigned char)(group >> 8),
                                  (unsigned char)group};
        base_str_add(out, bytes, kept);
        group = 0;
    }
    return true;
}

// Parses the decimal digits of a rank; -1 when they are no number, TOKEN_MAX_IDS when over it.
static int32_t parse_rank(const char *text, size_t len) {
    int32_t rank = 0;
    if (len == 0)
        return -1;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        rank = rank * 10 + (text[i] - '0');
        if (rank > TOKEN_MAX_IDS)
            rank = TOKEN_MAX_IDS;
    }
    return rank;
}

static int read_line(entry *e, base_str *bytes, line l, base_err *err) {
    const char *space = memchr(l.text, ' ', l.len);
    if (!space)
        return base_fail(err, BASE_ERR_MODEL, "line %d: no \"BASE64 RANK\"", l.number);
    size_t encoded = (size_t)(space - l.text);
    if (encoded > TOKEN_MAX_LENGTH * 4 / 3 + 4)
        return base_fail(err, BASE_ERR_MODEL, "line %d: a token of more than %d bytes", l.number,
                         TOKEN_MAX_LENGTH);
    e->line = l.number;
    e->start = (uint32_t)bytes->len;
    if (!add_base64(bytes, l.text, encoded))
        return base_fail(err, BASE_ERR_MODEL, "line %d: bad base64", l.number);
    e->len = (uint32_t)bytes->len - e->start;
    if (e->len > TOKEN_MAX_LENGTH)
        return base_fail(err, BASE_ERR_MODEL, "line %d: a token of more than %d bytes", l.number,
                         TOKEN_MAX_LENGTH);
    e->rank = parse_rank(space + 1, l.len - encoded - 1);
    if (e->rank < 0)
        return base_fail(err, BASE_ERR_MODEL, "line %d: the rank is not a number", l.number);
    if (e->rank >= TOKEN_MAX_IDS)
        return base_fail(err, BASE_ERR_MODEL, "line %d: the rank is over the limit of %d", l.number,
                         TOKEN_MAX_IDS - 1);
    return 0;
}

static int read_lines(entries *list, base_str *bytes, const token_file *file, base_err *err) {
    const char *p = file->data, *end = p + file->len;
    for (int number = 1; p < end; number++) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        line l = {p, (size_t)((newline ? newline : end) - p), number};
        p = newline ? newline + 1 : end;
        if (l.len == 0)
            continue;
        if (list->len == TOKEN_MAX_IDS)
            return base_fail(err, BASE_ERR_MODEL, "more than %d tokens", TOKEN_MAX_IDS);
        if (list->len == list->cap) {
            list->cap = list->cap ? 2 * list->cap : 4096;
            list->data = base_realloc(list->data, list->cap * sizeof *list->data);
        }
        int code = read_line(&list->data[list->len], bytes, l, err);
        if (code)
            return code;
        list->len++;
    }
    return list->len ? 0 : base_fail(err, BASE_ERR_MODEL, "no tokens");
}

// Fills `by_rank` [list->len]; every rank below the number of tokens must be there once.
static int order_by_rank(const entries *list, const entry **by_rank, base_err *err) {
    for (size_t i = 0; i < list->len; i++) {
        const entry *e = &list->data[i];
        if ((size_t)e->rank >= list->len)
            continue; // then another is missing
        if (by_rank[e->rank])
            return base_fail(err, BASE_ERR_MODEL, "line %d: rank %d is already in line %d", e->line,
                             e->rank, by_rank[e->rank]->line);
        by_rank[e->rank] = e;
    }
    for (size_t i = 0; i < list->len; i++)
        if (!by_rank[i])
            return base_fail(err, BASE_ERR_MODEL, "%zu tokens, but none has rank %zu", list->len,
                             i);
    return 0;
}

int token_ranks_read(token_vocab *vocab, base_str *out, const token_file *file, base_err *err) {
    entries list = {0};
    base_str bytes = {0};
    const entry **by_rank = NULL;
    int code = read_lines(&list, &bytes, file, err);
    if (code)
        goto out;
    by_rank = base_calloc(list.len, sizeof *by_rank);
    code = order_by_rank(&list, by_rank, err);
    if (code)
        goto out;
    vocab->ordinary = (int)list.len;
    vocab->offset = base_alloc((list.len + TOKEN_MAX_CONTROL + 1) * sizeof *vocab->offset);
    for (size_t i = 0; i < list.len; i++) {
        vocab->offset[i] = (uint32_t)out->len;
        base_str_add(out, bytes.data + by_rank[i]->start, by_rank[i]->len);
    }
    vocab->offset[list.len] = (uint32_t)out->len;
out:
    base_free(list.data);
    base_free(by_rank);
    base_str_free(&bytes);
    return code;
}
