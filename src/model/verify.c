// Reading a whole checkpoint: every used tensor's numbers, and every shard's SHA-256 where somebody
// said what it should be.
#include "model/internal.h"

#include <ctype.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE_BYTES = 1 << 20, HASH_BYTES = 32, MAX_MANIFEST = 16 << 20, PROGRESS_BYTES = 1 << 30 };

typedef struct file_check {
    char *name; // in the model's directory
    char *path;
    int shard; // -1: not a shard, only hashed
    bool has_hash;
    const char *source; // where the expected hash is from
    unsigned char expected[HASH_BYTES];
    int code;          // of the first problem
    base_str problems; // one line each
} file_check;

typedef struct verification {
    const model *m;
    file_check *files;
    int n_files;
    bool has_manifest;
    char **buffers; // [threads]
    base_progress *progress;
} verification;

// 64 hexadecimal digits; `end` gets what follows them.
static bool parse_hash(const char *text, unsigned char out[HASH_BYTES], const char **end) {
    for (int i = 0; i < HASH_BYTES * 2; i++)
        if (!isxdigit((unsigned char)text[i]))
            return false;
    for (int i = 0; i < HASH_BYTES; i++) {
        char pair[3] = {text[2 * i], text[2 * i + 1], 0};
        out[i] = (unsigned char)strtoul(pair, NULL, 16);
    }
    *end = text + (size_t)HASH_BYTES * 2;
    return true;
}

static file_check *add_file(verification *v, const char *name, int shard) {
    v->files = base_realloc(v->files, (size_t)(v->n_files + 1) * sizeof *v->files);
    file_check *f = &v->files[v->n_files++];
    *f = (file_check){.name = base_strdup(name), .shard = shard};
    f->path = base_path_join(v->m->dir, name);
    return f;
}

static file_check *find_file(const verification *v, const char *name) {
    for (int i = 0; i < v->n_files; i++)
        if (strcmp(v->files[i].name, name) == 0)
            return &v->files[i];
    return NULL;
}

// In the hub cache a large file is a link to blobs/SHA256.
static void expect_from_link(file_check *f) {
    char target[PATH_MAX];
    ssize_t n = readlink(f->path, target, sizeof target - 1);
    if (f->has_hash || n <= 0)
        return;
    target[n] = 0;
    const char *slash = strrchr(target, '/'), *end;
    const char *blob = slash ? slash + 1 : target;
    if (strlen(blob) == HASH_BYTES * 2 && parse_hash(blob, f->expected, &end)) {
        f->has_hash = true;
        f->source = "hub cache";
    }
}

// "HASH  NAME" or "HASH *NAME", as sha256sum writes it, names relative to the model's directory.
static int read_manifest_line(verification *v, const char *line, int number, const char *path,
                              base_err *err) {
    unsigned char hash[HASH_BYTES];
    const char *name;
    if (*line == 0 || *line == '#')
        return 0;
    if (!parse_hash(line, hash, &name) || name[0] != ' ' || (name[1] != ' ' && name[1] != '*') ||
        name[2] == 0)
        return base_fail(err, BASE_ERR_MODEL, "%s: line %d: \"HASH  NAME\" expected", path, number);
    name += 2;
    if (name[0] == '.' && name[1] == '/')
        name += 2;
    if (name[0] == '/' || strstr(name, ".."))
        return base_fail(err, BASE_ERR_MODEL, "%s: line %d: \"%s\" is outside of the directory",
                         path, number, name);
    file_check *f = find_file(v, name);
    if (!f)
        f = add_file(v, name, -1);
    if (f->has_hash && memcmp(f->expected, hash, sizeof hash) != 0)
        return base_fail(err, BASE_ERR_MODEL, "%s: line %d: a second hash for \"%s\"", path, number,
                         name);
    memcpy(f->expected, hash, sizeof hash);
    f->has_hash = true;
    f->source = "SHA256SUMS";
    return 0;
}

static int read_manifest(verification *v, base_err *err) {
    char *path = base_path_join(v->m->dir, "SHA256SUMS");
    base_str text = {0};
    int rc = 0;
    v->has_manifest = access(path, F_OK) == 0;
    if (v->has_manifest)
        rc = base_file_read(path, MAX_MANIFEST, BASE_ERR_MODEL, &text, err);
    char *line = text.data;
    for (int number = 1; rc == 0 && line; number++) {
        char *end = strchr(line, '\n');
        if (end)
            *end = 0;
        size_t len = strlen(line);
        if (len > 0 && line[len - 1] == '\r')
            line[len - 1] = 0;
        rc = read_manifest_line(v, line, number, path, err);
        line = end ? end + 1 : NULL;
    }
    base_str_free(&text);
    base_free(path);
    return rc;
}

// ---------------------------------------------------------------------------------------------

static void problem(file_check *f, const base_err *err) {
    if (f->problems.len == 0)
        f->code = err->code;
    base_str_printf(&f->problems, "%s\n", err->message);
}

// Reads [offset, offset + bytes), hashes it if asked to, and looks for NaN and infinity when `t` is
// given; a tensor's first bad element is reported, the rest of it only hashed.
static bool read_range(verification *v, file_check *f, int fd, const model_tensor *t,
                       uint64_t offset, uint64_t bytes, EVP_MD_CTX *hash, char *buffer) {
    base_err err = {0};
    bool bad = false;
    for (uint64_t done = 0; done < bytes;) {
        size_t piece = bytes - done < PIECE_BYTES ? (size_t)(bytes - done) : PIECE_BYTES;
        if (base_file_pread(fd, buffer, piece, offset + done, f->path, &err) != 0) {
            problem(f, &err);
            return false;
        }
        if (hash)
            EVP_DigestUpdate(hash, buffer, piece);
        int64_t at = t && !bad ? model_find_non_finite(t->dtype, buffer, piece) : -1;
        if (at >= 0) {
            base_fail(&err, BASE_ERR_MODEL, "%s: tensor \"%s\": element %llu is NaN or infinite",
                      f->path, t->name,
                      (unsigned long long)(done / model_dtype_bytes(t->dtype) + (uint64_t)at));
            problem(f, &err);
            bad = true;
        }
        done += piece;
        base_progress_add(v->progress, piece);
    }
    return true;
}

static void finish_hash(file_check *f, EVP_MD_CTX *hash) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    base_err err = {0};
    EVP_DigestFinal_ex(hash, digest, &len);
    if (len == HASH_BYTES && memcmp(digest, f->expected, HASH_BYTES) == 0)
        return;
    base_fail(&err, BASE_ERR_MODEL, "%s: SHA-256 is not the one of the %s", f->path, f->source);
    problem(f, &err);
}

// Header, then tensors by offset: without holes, so that is the whole file.
static void verify_shard(verification *v, file_check *f, EVP_MD_CTX *hash, char *buffer) {
    const model *m = v->m;
    const model_shard *s = &m->shards[f->shard];
    if (!read_range(v, f, s->fd, NULL, 0, s->data_start, hash, buffer))
        return;
    for (int i = s->first_tensor; i < s->end_tensor; i++) {
        const model_tensor *t = &m->tensors[i];
        if (!m->used[i] && !hash)
            continue;
        if (!read_range(v, f, s->fd, m->used[i] ? t : NULL, t->offset, t->bytes, hash, buffer))
            return;
    }
    if (hash)
        finish_hash(f, hash);
}

static void verify_other(verification *v, file_check *f, EVP_MD_CTX *hash, char *buffer) {
    base_err err = {0};
    uint64_t size;
    int fd = base_file_open(f->path, BASE_ERR_MODEL, &size, &err);
    if (fd < 0) {
        problem(f, &err);
        return;
    }
    if (read_range(v, f, fd, NULL, 0, size, hash, buffer))
        finish_hash(f, hash);
    close(fd);
}

static void verify_file(void *arg, int item, int worker) {
    verification *v = arg;
    file_check *f = &v->files[item];
    EVP_MD_CTX *hash = NULL;
    if (f->has_hash) {
        hash = EVP_MD_CTX_new();
        if (!hash || !EVP_DigestInit_ex(hash, EVP_sha256(), NULL)) {
            base_err err = {0};
            base_fail(&err, BASE_ERR_RESOURCE, "%s: SHA-256 is not available", f->path);
            problem(f, &err);
            EVP_MD_CTX_free(hash);
            return;
        }
    }
    if (f->shard >= 0)
        verify_shard(v, f, hash, v->buffers[worker]);
    else
        verify_other(v, f, hash, v->buffers[worker]);
    EVP_MD_CTX_free(hash);
}

static void run(verification *v, base_pool *pool) {
    int n = base_pool_threads(pool);
    uint64_t total = 0;
    for (int i = 0; i < v->m->n_shards; i++)
        total += v->m->shards[i].file_bytes;
    v->buffers = base_calloc((size_t)n, sizeof *v->buffers);
    for (int i = 0; i < n; i++)
        v->buffers[i] = base_alloc(PIECE_BYTES);
    v->progress = total >= PROGRESS_BYTES ? base_progress_start("Verifying", total) : NULL;
    base_pool_run(pool, v->n_files, verify_file, v);
    if (v->progress)
        base_progress_end(v->progress);
    for (int i = 0; i < n; i++)
        base_free(v->buffers[i]);
    base_free(v->buffers);
}

// All problems into the report, the first of them into `err`.
static int summarise(const verification *v, base_str *report, base_err *err) {
    int n_hashes = 0, rc = 0;
    for (int i = 0; i < v->n_files; i++) {
        file_check *f = &v->files[i];
        n_hashes += f->has_hash;
        if (v->has_manifest && !f->has_hash)
            base_str_printf(report, "%s: not in SHA256SUMS\n", f->path);
        if (f->problems.len == 0)
            continue;
        base_str_add(report, f->problems.data, f->problems.len);
        if (rc == 0)
            rc = base_fail(err, f->code, "%.*s", (int)strcspn(f->problems.data, "\n"),
                           f->problems.data);
    }
    int n_used = 0;
    for (int i = 0; i < v->m->n_tensors; i++)
        n_used += v->m->used[i];
    if (rc == 0)
        base_str_printf(report, "ok: %d tensors in %d shards are complete and finite\n", n_used,
                        v->m->n_shards);
    if (rc == 0 && n_hashes > 0)
        base_str_printf(report, "ok: %d SHA-256 hashes agree\n", n_hashes);
    else if (n_hashes == 0)
        base_str_printf(report, "no hashes to compare with (no SHA256SUMS, not the hub cache)\n");
    return rc;
}

int model_verify(const model *m, int threads, base_str *report, base_err *err) {
    if (m->dummy)
        return base_fail(err, BASE_ERR_USAGE, "%s: dummy weights cannot be verified", m->dir);
    verification v = {.m = m};
    for (int i = 0; i < m->n_shards; i++) {
        const char *slash = strrchr(m->shards[i].path, '/');
        add_file(&v, slash ? slash + 1 : m->shards[i].path, i);
    }
    int rc = read_manifest(&v, err);
    base_pool *pool = NULL;
    if (rc == 0 && !(pool = base_pool_create(threads)))
        rc = base_fail(err, BASE_ERR_RESOURCE, "%d threads cannot be started", threads);
    if (rc == 0) {
        for (int i = 0; i < v.n_files; i++)
            expect_from_link(&v.files[i]);
        run(&v, pool);
        rc = summarise(&v, report, err);
    }
    base_pool_destroy(pool);
    for (int i = 0; i < v.n_files; i++) {
        base_free(v.files[i].name);
        base_free(v.files[i].path);
        base_str_free(&v.files[i].problems);
    }
    base_free(v.files);
    return rc;
}
