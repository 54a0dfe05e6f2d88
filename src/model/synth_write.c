// Shards to disk: each file is allocated whole, then workers fill chunks of it in memory and write
// them in place, so the disk and not the arithmetic sets the speed.
#include "model/synth.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static const uint64_t chunk_bytes = 4 << 20;
// Below this a progress display is noise.
static const uint64_t progress_from = 1 << 28;

typedef struct shard_job {
    const synth_shard *shard;
    const synth_tables *tables;
    uint64_t seed;
    uint64_t data_at; // where tensor data begins in the file
    const char *path;
    int fd;
    unsigned char *buffers; // [threads, chunk_bytes]
    base_progress *progress;
    atomic_bool failed;
    pthread_mutex_t lock; // guards err
    base_err *err;
} shard_job;

static int fail_write(const char *path, int error, base_err *err) {
    return base_fail(err, BASE_ERR_RESOURCE, "%s: cannot write: %s", path, strerror(error));
}

static int write_at(int fd, const void *bytes, uint64_t len, uint64_t offset, const char *path,
                    base_err *err) {
    const unsigned char *from = bytes;
    while (len > 0) {
        ssize_t n = pwrite(fd, from, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail_write(path, n < 0 ? errno : ENOSPC, err);
        from += n, offset += (uint64_t)n, len -= (uint64_t)n;
    }
    return 0;
}

// The first tensor that ends after `at`.
static int tensor_at(const synth_shard *shard, uint64_t at) {
    int low = 0, high = shard->n_tensors;
    while (low < high) {
        int middle = (low + high) / 2;
        if (shard->tensors[middle].offset + shard->tensors[middle].bytes <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void fill_chunk(const shard_job *job, uint64_t begin, uint64_t end, unsigned char *out) {
    for (int i = tensor_at(job->shard, begin); i < job->shard->n_tensors; i++) {
        const synth_tensor *t = &job->shard->tensors[i];
        if (t->offset >= end)
            break;
        uint64_t from = t->offset > begin ? t->offset : begin;
        uint64_t to = t->offset + t->bytes < end ? t->offset + t->bytes : end;
        synth_fill(job->tables, t, job->seed, from - t->offset, to - t->offset,
                   out + (from - begin));
    }
}

static void write_chunk(void *arg, int item, int worker) {
    shard_job *job = arg;
    if (atomic_load_explicit(&job->failed, memory_order_relaxed))
        return;
    uint64_t begin = (uint64_t)item * chunk_bytes, end = begin + chunk_bytes;
    if (end > job->shard->bytes)
        end = job->shard->bytes;
    unsigned char *buffer = job->buffers + (uint64_t)worker * chunk_bytes;
    fill_chunk(job, begin, end, buffer);
    base_err err = {0};
    if (write_at(job->fd, buffer, end - begin, job->data_at + begin, job->path, &err)) {
        pthread_mutex_lock(&job->lock);
        if (!atomic_exchange(&job->failed, true) && job->err)
            *job->err = err;
        pthread_mutex_unlock(&job->lock);
        return;
    }
    base_progress_add(job->progress, end - begin);
}

// Reserves the file's blocks, so that a full disk shows at once and chunks land in order.
static int reserve(int fd, uint64_t bytes, const char *path, base_err *err) {
    if (fallocate(fd, 0, 0, (off_t)bytes) == 0)
        return 0;
    if (errno != EOPNOTSUPP && errno != ENOSYS)
        return fail_write(path, errno, err);
    return ftruncate(fd, (off_t)bytes) ? fail_write(path, errno, err) : 0;
}

static int write_opened(shard_job *job, base_pool *pool) {
    base_str header = {0};
    synth_plan_header(job->shard, &header);
    job->data_at = header.len;
    uint64_t items = (job->shard->bytes + chunk_bytes - 1) / chunk_bytes;
    int code = items > INT_MAX
                   ? base_fail(job->err, BASE_ERR_USAGE, "%s: shard too large", job->path)
                   : reserve(job->fd, header.len + job->shard->bytes, job->path, job->err);
    if (!code)
        code = write_at(job->fd, header.data, header.len, 0, job->path, job->err);
    base_str_free(&header);
    if (code)
        return code;
    base_pool_run(pool, (int)items, write_chunk, job);
    return atomic_load(&job->failed) ? BASE_ERR_RESOURCE : 0;
}

static int write_shard(shard_job *job, base_pool *pool) {
    // O_EXCL: never through a link, never over a file that is not ours.
    job->fd = open(job->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (job->fd < 0)
        return fail_write(job->path, errno, job->err);
    int code = write_opened(job, pool);
    if (close(job->fd) != 0 && !code)
        code = fail_write(job->path, errno, job->err);
    return code;
}

int synth_write_shards(const char *dir, const synth_plan *plan, uint64_t seed, int threads,
                       base_err *err) {
    if (threads < 1)
        threads = 1;
    synth_tables *tables = base_alloc(sizeof *tables);
    synth_tables_init(tables);
    unsigned char *buffers = base_try_alloc((size_t)threads * chunk_bytes);
    base_pool *pool = buffers ? base_pool_create(threads) : NULL;
    base_progress *progress =
        plan->bytes >= progress_from ? base_progress_start("Writing weights", plan->bytes) : NULL;
    int code = 0;
    if (!pool)
        code =
            base_fail(err, BASE_ERR_RESOURCE, "no memory, or no threads, for %d threads", threads);
    for (int i = 0; i < plan->n_shards && !code; i++) {
        char *path = base_path_join(dir, plan->shards[i].file);
        shard_job job = {.shard = &plan->shards[i],
                         .tables = tables,
                         .seed = seed,
                         .path = path,
                         .buffers = buffers,
                         .progress = progress,
                         .lock = PTHREAD_MUTEX_INITIALIZER,
                         .err = err};
        code = write_shard(&job, pool);
        base_free(path);
    }
    if (progress)
        base_progress_end(progress);
    base_pool_destroy(pool);
    base_free(buffers);
    base_free(tables);
    return code;
}
