// The header of a safetensors file. Rules: at most 100,000,000 bytes of UTF-8 JSON that begins with
// '{' and may be padded with spaces; "__metadata__" maps strings to strings; no key twice; the
// tensors, by offset, cover the data without holes or overlaps; a tensor's shape and type give
// exactly its length.
#include "model/internal.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

typedef struct format_dtype {
    const char *name;
    unsigned bits;
    model_dtype dtype;
} format_dtype;

static const format_dtype DTYPES[] = {
    {"BF16", 16, MODEL_BF16},
    {"F32", 32, MODEL_F32},
    {"I32", 32, MODEL_I32},
    {"I64", 64, MODEL_I64},
    {"BOOL", 8, MODEL_OTHER_DTYPE},
    {"U8", 8, MODEL_OTHER_DTYPE},
    {"I8", 8, MODEL_OTHER_DTYPE},
    {"F8_E5M2", 8, MODEL_OTHER_DTYPE},
    {"F8_E4M3", 8, MODEL_OTHER_DTYPE},
    {"F8_E8M0", 8, MODEL_OTHER_DTYPE},
    {"F4", 4, MODEL_OTHER_DTYPE},
    {"F6_E2M3", 6, MODEL_OTHER_DTYPE},
    {"F6_E3M2", 6, MODEL_OTHER_DTYPE},
    {"I16", 16, MODEL_OTHER_DTYPE},
    {"U16", 16, MODEL_OTHER_DTYPE},
    {"F16", 16, MODEL_OTHER_DTYPE},
    {"U32", 32, MODEL_OTHER_DTYPE},
    {"F64", 64, MODEL_OTHER_DTYPE},
    {"U64", 64, MODEL_OTHER_DTYPE},
    {"C64", 64, MODEL_OTHER_DTYPE},
};

typedef struct header_reader {
    model_scan scan;
    model_header *out;
    size_t capacity;   // of out->tensors
    size_t names_used; // of out->names
    model_names seen;
    bool has_metadata;
} header_reader;

int model_header_length(const unsigned char first[8], uint64_t file_bytes, uint64_t *len,
                        const char *what, base_err *err) {
    if (file_bytes < 8)
        return base_fail(err, BASE_ERR_MODEL, "%s: %llu bytes are too few for a safetensors file",
                         what, (unsigned long long)file_bytes);
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--)
        n = n << 8 | first[i];
    if (n > MODEL_HEADER_MAX)
        return base_fail(err, BASE_ERR_MODEL, "%s: header of %llu bytes; at most %d are allowed",
                         what, (unsigned long long)n, (int)MODEL_HEADER_MAX);
    if (n > file_bytes - 8)
        return base_fail(err, BASE_ERR_MODEL,
                         "%s: header of %llu bytes in a file of %llu bytes (truncated?)", what,
                         (unsigned long long)n, (unsigned long long)file_bytes);
    *len = n;
    return 0;
}

static bool add_name(model_scan *s, model_names *names, const char *name, int value) {
    switch (model_names_add(names, name, value)) {
    case MODEL_NAME_ADDED:
        return true;
    case MODEL_NAME_TWICE:
        return model_scan_fail(s, "\"%s\" is there twice", name);
    default:
        return model_scan_no_memory(s);
    }
}

// A key or string that stays: into the names' memory, which the text's length bounds.
static char *keep_string(header_reader *r, size_t *len) {
    char *at = r->out->names + r->names_used;
    if (!model_scan_string(&r->scan, at, len))
        return NULL;
    r->names_used += *len + 1;
    return at;
}

static bool read_metadata(header_reader *r) {
    model_scan *s = &r->scan;
    if (r->has_metadata)
        return model_scan_fail(s, "\"__metadata__\" is there twice");
    r->has_metadata = true;
    if (!model_scan_take(s, '{'))
        return false;
    bool more = !model_scan_peek(s, '}');
    if (!more)
        return model_scan_take(s, '}');
    model_names keys = {0};
    while (more) {
        size_t len;
        const char *key = keep_string(r, &len);
        if (!key || !add_name(s, &keys, key, 0) || !model_scan_take(s, ':') ||
            !keep_string(r, &len) || !model_scan_next(s, '}', &more))
            break;
    }
    model_names_free(&keys);
    return s->code == 0;
}

static bool read_dtype(header_reader *r, unsigned *bits, model_tensor *t) {
    size_t len;
    const char *name = keep_string(r, &len);
    if (!name)
        return false;
    for (size_t i = 0; i < sizeof DTYPES / sizeof *DTYPES; i++)
        if (strcmp(name, DTYPES[i].name) == 0) {
            t->dtype = DTYPES[i].dtype;
            t->dtype_name = DTYPES[i].name;
            *bits = DTYPES[i].bits;
            return true;
        }
    return model_scan_fail(&r->scan, "tensor \"%s\": dtype \"%s\" is unknown", t->name, name);
}

static bool read_shape(header_reader *r, model_tensor *t) {
    model_scan *s = &r->scan;
    if (!model_scan_take(s, '['))
        return false;
    bool more = !model_scan_peek(s, ']');
    if (!more)
        return model_scan_take(s, ']');
    while (more) {
        uint64_t dim;
        if (t->n_dims == MODEL_MAX_DIMS)
            return model_scan_fail(s, "tensor \"%s\": more than %d dimensions", t->name,
                                   (int)MODEL_MAX_DIMS);
        if (!model_scan_u64(s, &dim))
            return false;
        if (dim > INT64_MAX)
            return model_scan_fail(s, "tensor \"%s\": dimension over 2^63", t->name);
        t->shape[t->n_dims++] = (int64_t)dim;
        if (!model_scan_next(s, ']', &more))
            return false;
    }
    return true;
}

static bool read_offsets(header_reader *r, uint64_t data_bytes, model_tensor *t) {
    model_scan *s = &r->scan;
    uint64_t begin, end;
    if (!model_scan_take(s, '[') || !model_scan_u64(s, &begin) || !model_scan_take(s, ',') ||
        !model_scan_u64(s, &end) || !model_scan_take(s, ']'))
        return false;
    if (end < begin)
        return model_scan_fail(s, "tensor \"%s\": data_offsets end before they begin", t->name);
    if (end > data_bytes)
        return model_scan_fail(
            s, "tensor \"%s\": data_offsets end at %llu, the data has %llu bytes (truncated?)",
            t->name, (unsigned long long)end, (unsigned long long)data_bytes);
    t->offset = begin;
    t->bytes = end - begin;
    return true;
}

// The product of shape and type must be the length given by the offsets.
static bool check_size(model_scan *s, const model_tensor *t, unsigned bits) {
    uint64_t total = bits;
    bool zero = false;
    for (int i = 0; i < t->n_dims; i++) {
        zero = zero || t->shape[i] == 0;
        if (__builtin_mul_overflow(total, (uint64_t)t->shape[i], &total))
            return model_scan_fail(s, "tensor \"%s\": shape overflows", t->name);
    }
    if (zero)
        total = 0;
    if (total % 8 != 0)
        return model_scan_fail(s, "tensor \"%s\": not a whole number of bytes", t->name);
    if (total / 8 != t->bytes)
        return model_scan_fail(
            s, "tensor \"%s\": shape and dtype make %llu bytes, data_offsets %llu", t->name,
            (unsigned long long)(total / 8), (unsigned long long)t->bytes);
    return true;
}

static bool read_field(header_reader *r, uint64_t data_bytes, unsigned *seen, unsigned *bits,
                       model_tensor *t) {
    static const char *const fields[] = {"dtype", "shape", "data_offsets"};
    model_scan *s = &r->scan;
    size_t len;
    const char *key = keep_string(r, &len);
    if (!key)
        return false;
    unsigned i = 0;
    while (i < 3 && strcmp(key, fields[i]) != 0)
        i++;
    if (i == 3)
        return model_scan_fail(s, "tensor \"%s\": unknown field \"%s\"", t->name, key);
    if (*seen & 1u << i)
        return model_scan_fail(s, "tensor \"%s\": \"%s\" is there twice", t->name, key);
    *seen |= 1u << i;
    if (!model_scan_take(s, ':'))
        return false;
    return i == 0   ? read_dtype(r, bits, t)
           : i == 1 ? read_shape(r, t)
                    : read_offsets(r, data_bytes, t);
}

static bool read_tensor(header_reader *r, uint64_t data_bytes, const char *name) {
    model_scan *s = &r->scan;
    model_tensor t = {.name = name};
    unsigned seen = 0, bits = 0;
    if (!model_scan_take(s, '{'))
        return false;
    size_t names_mark = r->names_used;
    for (bool more = true; more;)
        if (!read_field(r, data_bytes, &seen, &bits, &t) || !model_scan_next(s, '}', &more))
            return false;
    r->names_used = names_mark; // field names and dtype need not stay
    if (seen != 7)
        return model_scan_fail(s, "tensor \"%s\": dtype, shape or data_offsets is missing", name);
    if (!check_size(s, &t, bits))
        return false;
    model_header *h = r->out;
    if ((size_t)h->n_tensors == r->capacity) {
        size_t capacity = r->capacity ? r->capacity * 2 : 64;
        model_tensor *grown = base_try_realloc(h->tensors, capacity * sizeof *grown);
        if (!grown)
            return model_scan_no_memory(s);
        h->tensors = grown;
        r->capacity = capacity;
    }
    h->tensors[h->n_tensors++] = t;
    return true;
}

static bool read_members(header_reader *r, uint64_t data_bytes) {
    model_scan *s = &r->scan;
    if (s->begin == s->end || *s->begin != '{')
        return model_scan_fail(s, "the header does not begin with '{'");
    if (!model_scan_take(s, '{'))
        return false;
    bool more = !model_scan_peek(s, '}');
    if (!more && !model_scan_take(s, '}'))
        return false;
    while (more) {
        size_t len;
        const char *name = keep_string(r, &len);
        if (!name || !model_scan_take(s, ':'))
            return false;
        if (strcmp(name, "__metadata__") == 0) {
            if (!read_metadata(r))
                return false;
        } else if (len == 0) {
            return model_scan_fail(s, "a tensor without a name");
        } else if (!add_name(s, &r->seen, name, 0) || !read_tensor(r, data_bytes, name)) {
            return false;
        }
        if (!model_scan_next(s, '}', &more))
            return false;
    }
    for (; s->at < s->end; s->at++)
        if (*s->at != ' ')
            return model_scan_fail(s, "bytes after the header's last '}'");
    return true;
}

static int by_offset(const void *pa, const void *pb) {
    const model_tensor *a = pa, *b = pb;
    if (a->offset != b->offset)
        return a->offset < b->offset ? -1 : 1;
    if (a->bytes != b->bytes)
        return a->bytes < b->bytes ? -1 : 1;
    return strcmp(a->name, b->name);
}

static int check_cover(const model_header *h, uint64_t data_bytes, const char *what,
                       base_err *err) {
    uint64_t at = 0;
    for (int i = 0; i < h->n_tensors; i++) {
        const model_tensor *t = &h->tensors[i];
        if (t->offset != at)
            return base_fail(err, BASE_ERR_MODEL, "%s: tensor \"%s\" %s at byte %llu of the data",
                             what, t->name,
                             t->offset < at ? "overlaps another one" : "leaves a hole before it",
                             (unsigned long long)t->offset);
        at += t->bytes;
    }
    if (at != data_bytes)
        return base_fail(err, BASE_ERR_MODEL, "%s: %llu bytes after the last tensor", what,
                         (unsigned long long)(data_bytes - at));
    return 0;
}

int model_header_parse(model_header *out, const char *json, size_t len, uint64_t data_bytes,
                       const char *what, base_err *err) {
    *out = (model_header){0};
    if (len > MODEL_HEADER_MAX)
        return base_fail(err, BASE_ERR_MODEL, "%s: header of %zu bytes", what, len);
    out->names = base_try_alloc(len + 1);
    if (!out->names)
        return base_fail(err, BASE_ERR_RESOURCE, "%s: no memory for its header", what);
    header_reader r = {
        .scan = {.begin = json, .at = json, .end = json + len, .what = what, .err = err},
        .out = out,
    };
    read_members(&r, data_bytes);
    int rc = r.scan.code;
    model_names_free(&r.seen);
    if (rc == 0) {
        for (int i = 1; i < out->n_tensors; i++)
            if (by_offset(&out->tensors[i - 1], &out->tensors[i]) > 0) {
                qsort(out->tensors, (size_t)out->n_tensors, sizeof *out->tensors, by_offset);
                break;
            }
        rc = check_cover(out, data_bytes, what, err);
    }
    if (rc != 0)
        model_header_free(out);
    return rc;
}

void model_header_free(model_header *h) {
    base_free(h->tensors);
    base_free(h->names);
    *h = (model_header){0};
}
