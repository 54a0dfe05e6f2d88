// Reading weights. NaN and infinity are looked for while the bytes are still in the cache.
#include "model/internal.h"

enum { PIECE_BYTES = 1 << 18, SCAN_ELEMENTS = 8192 };

// Tensor data has no alignment of its own.
typedef uint16_t unaligned_u16 __attribute__((aligned(1), may_alias));
typedef uint32_t unaligned_u32 __attribute__((aligned(1), may_alias));

size_t model_dtype_bytes(model_dtype dtype) {
    switch (dtype) {
    case MODEL_BF16:
        return 2;
    case MODEL_F32:
    case MODEL_I32:
        return 4;
    case MODEL_I64:
        return 8;
    default:
        return 1;
    }
}

// Branch-free over a run, so that compilers vectorise it; only a hit is searched.
static bool any_bad_bf16(const unaligned_u16 *p, size_t n) {
    uint16_t bad = 0;
    for (size_t i = 0; i < n; i++)
        bad |= (uint16_t)((p[i] & 0x7f80) == 0x7f80 ? 0xffff : 0);
    return bad != 0;
}

static bool any_bad_f32(const unaligned_u32 *p, size_t n) {
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++)
        bad |= (p[i] & 0x7f800000u) == 0x7f800000u ? 0xffffffffu : 0;
    return bad != 0;
}

static int64_t find_bf16(const unaligned_u16 *p, size_t n) {
    for (size_t at = 0; at < n; at += SCAN_ELEMENTS) {
        size_t run = n - at < SCAN_ELEMENTS ? n - at : SCAN_ELEMENTS;
        if (!any_bad_bf16(p + at, run))
            continue;
        while ((p[at] & 0x7f80) != 0x7f80)
            at++;
        return (int64_t)at;
    }
    return -1;
}

static int64_t find_f32(const unaligned_u32 *p, size_t n) {
    for (size_t at = 0; at < n; at += SCAN_ELEMENTS) {
        size_t run = n - at < SCAN_ELEMENTS ? n - at : SCAN_ELEMENTS;
        if (!any_bad_f32(p + at, run))
            continue;
        while ((p[at] & 0x7f800000u) != 0x7f800000u)
            at++;
        return (int64_t)at;
    }
    return -1;
}

int64_t model_find_non_finite(model_dtype dtype, const void *data, size_t bytes) {
    if (dtype == MODEL_BF16)
        return find_bf16(data, bytes / 2);
    return dtype == MODEL_F32 ? find_f32(data, bytes / 4) : -1;
}

static int read_piece(const model *m, const model_tensor *t, uint64_t offset, size_t bytes,
                      void *out, base_err *err) {
    if (m->dummy) {
        model_dummy_read(m, t, offset, bytes, out);
        return 0;
    }
    const model_shard *shard = &m->shards[t->file];
    if (base_file_pread(shard->fd, out, bytes, t->offset + offset, shard->path, err) != 0)
        return base_fail_prefix(err, "tensor \"%s\"", t->name);
    return 0;
}

int model_read(const model *m, const model_tensor *t, uint64_t offset, uint64_t bytes, void *out,
               base_err *err) {
    size_t size = model_dtype_bytes(t->dtype);
    if (offset > t->bytes || bytes > t->bytes - offset || offset % size != 0 || bytes % size != 0)
        return base_fail(err, BASE_ERR_MODEL,
                         "tensor \"%s\": bytes [%llu, +%llu) are not elements of its %llu bytes",
                         t->name, (unsigned long long)offset, (unsigned long long)bytes,
                         (unsigned long long)t->bytes);
    for (uint64_t done = 0; done < bytes;) {
        size_t piece = bytes - done < PIECE_BYTES ? (size_t)(bytes - done) : PIECE_BYTES;
        char *at = (char *)out + done;
        int rc = read_piece(m, t, offset + done, piece, at, err);
        if (rc != 0)
            return rc;
        int64_t bad = model_find_non_finite(t->dtype, at, piece);
        if (bad >= 0)
            return base_fail(err, BASE_ERR_MODEL,
                             "%s: tensor \"%s\": element %llu is NaN or infinite",
                             m->shards[t->file].path, t->name,
                             (unsigned long long)((offset + done) / size + (uint64_t)bad));
        done += piece;
    }
    return 0;
}
