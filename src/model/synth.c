// Synthesis from end to end: config, tokenizer, plan, the directory, files. The index is written
// last: a directory without it is no checkpoint, so an interrupted synthesis cannot pass for one.
#include "model/synth.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

// Says that everything else in the directory is ours to replace.
static const char marker_file[] = "synthesis.json";
static const char index_file[] = "model.safetensors.index.json";
static const char *const own_files[] = {
    index_file,
    "model-[0-9]*-of-[0-9]*.safetensors",
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "tiktoken.model",
};
// What the small files and the file system's own bookkeeping may need.
static const uint64_t spare_bytes = 32 << 20;
// A vocabulary is made before its size can be checked with the rest of the config.
enum { MAX_VOCAB = 1 << 22 };

// ---------------------------------------------------------------------------------------------
// What to write

typedef struct synthesis {
    json_t *config;
    base_str config_text, generation_text, marker_text, index_text;
    synth_tokenizer tokenizer;
    model_config parsed;
    synth_plan plan;
} synthesis;

static void synthesis_free(synthesis *s) {
    json_decref(s->config);
    base_str_free(&s->config_text);
    base_str_free(&s->generation_text);
    base_str_free(&s->marker_text);
    base_str_free(&s->index_text);
    synth_tokenizer_free(&s->tokenizer);
    synth_plan_free(&s->plan);
}

// The config of the request, checked as a checkpoint's would be. A bad one is the caller's mistake,
// not a damaged model.
static int parse_config(synthesis *s, base_err *err) {
    base_err reason = {0};
    synth_config_print(s->config, &s->config_text);
    if (!model_config_parse(&s->parsed, s->config_text.data, s->config_text.len, "config.json",
                            &reason))
        return 0;
    return base_fail(err, BASE_ERR_USAGE, "%s", reason.message);
}

static int make_config(synthesis *s, const model_synth_options *options, base_err *err) {
    int code;
    if (options->tokenizer_dir &&
        (code = synth_tokenizer_read(&s->tokenizer, options->tokenizer_dir, err)))
        return code;
    s->config = synth_config_make(options, s->tokenizer.n_ids, err);
    if (!s->config)
        return BASE_ERR_USAGE;
    json_int_t vocab = json_integer_value(json_object_get(s->config, "vocab_size"));
    if (vocab < 0 || vocab > MAX_VOCAB)
        return base_fail(err, BASE_ERR_USAGE, "vocab_size %" JSON_INTEGER_FORMAT ": not in [0, %d]",
                         vocab, MAX_VOCAB);
    if (!options->tokenizer_dir &&
        (code = synth_tokenizer_generate(&s->tokenizer, (int)vocab, err)))
        return code;
    if (vocab < s->tokenizer.n_ids)
        return base_fail(err, BASE_ERR_USAGE, "vocab_size %d is less than the %d ids of %s",
                         (int)vocab, s->tokenizer.n_ids, options->tokenizer_dir);
    if ((code = synth_config_set_ids(s->config, options, &s->tokenizer, err)))
        return code;
    return parse_config(s, err);
}

static void make_texts(synthesis *s, const model_synth_options *options) {
    base_str_printf(&s->generation_text, "{\n  \"max_length\": %d,\n  \"eos_token_id\": %d\n}\n",
                    s->parsed.max_position_embeddings, s->tokenizer.eos);
    base_str_printf(&s->marker_text,
                    "{\n  \"generator\": \"abruzzi synth\",\n  \"preset\": \"%s\",\n"
                    "  \"seed\": %llu\n}\n",
                    options->preset, (unsigned long long)options->seed);
    synth_plan_index(&s->plan, &s->index_text);
}

// ---------------------------------------------------------------------------------------------
// The directory

static int fail_path(const char *path, const char *what, base_err *err) {
    return base_fail(err, BASE_ERR_RESOURCE, "%s: %s: %s", path, what, strerror(errno));
}

// Makes `dir` and the folders above it.
static int make_dir(const char *dir, base_err *err) {
    char *path = base_strdup(dir);
    int code = 0;
    for (char *slash = path + 1; *path && !code; slash++) {
        if (*slash && *slash != '/')
            continue;
        char end = *slash;
        *slash = 0;
        if (mkdir(path, 0777) != 0 && errno != EEXIST)
            code = fail_path(path, "cannot make directory", err);
        *slash = end;
        if (!end)
            break;
    }
    base_free(path);
    return code;
}

static bool is_own_file(const char *name) {
    for (size_t i = 0; i < sizeof own_files / sizeof own_files[0]; i++)
        if (fnmatch(own_files[i], name, 0) == 0)
            return true;
    return false;
}

// Was an earlier synthesis begun here?
static bool has_marker(const char *dir) {
    char *path = base_path_join(dir, marker_file);
    base_str text = {0};
    bool ours = false;
    if (base_file_read(path, 1 << 16, BASE_ERR_RESOURCE, &text, NULL) == 0) {
        json_t *marker = base_json_parse(text.data, text.len, marker_file, BASE_ERR_RESOURCE, NULL);
        ours = json_is_string(json_object_get(marker, "preset")) &&
               json_is_integer(json_object_get(marker, "seed"));
        json_decref(marker);
    }
    base_str_free(&text);
    base_free(path);
    return ours;
}

// Refuses a directory with anything in it that is not ours; sums what our files there occupy.
static int check_dir(const char *dir, uint64_t *reclaimable, base_err *err) {
    DIR *handle = opendir(dir);
    if (!handle)
        return fail_path(dir, "cannot open directory", err);
    bool ours = has_marker(dir);
    int code = 0;
    const struct dirent *entry;
    while (!code && (entry = readdir(handle))) {
        struct stat st;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (!ours)
            code = base_fail(err, BASE_ERR_USAGE,
                             "%s: not empty (it holds %s) and not an older synthesis (no %s)", dir,
                             entry->d_name, marker_file);
        else if (is_own_file(entry->d_name) &&
                 fstatat(dirfd(handle), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            *reclaimable += (uint64_t)st.st_blocks * 512;
    }
    closedir(handle);
    return code;
}

static int check_space(const char *dir, uint64_t needed, uint64_t reclaimable, base_err *err) {
    struct statvfs fs;
    if (statvfs(dir, &fs) != 0)
        return fail_path(dir, "cannot ask for free space", err);
    uint64_t available = (uint64_t)fs.f_bavail * fs.f_frsize + reclaimable;
    if (needed <= available)
        return 0;
    return base_fail(err, BASE_ERR_RESOURCE, "%s: the checkpoint takes %.2f GB, %.2f GB are free",
                     dir, (double)needed / 1e9, (double)available / 1e9);
}

static int remove_file(int dir_fd, const char *dir, const char *name, base_err *err) {
    if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
        return 0;
    return base_fail(err, BASE_ERR_RESOURCE, "%s/%s: cannot remove: %s", dir, name,
                     strerror(errno));
}

// Removes an older synthesis, the index first. The marker stays.
static int remove_own_files(const char *dir, base_err *err) {
    DIR *handle = opendir(dir);
    if (!handle)
        return fail_path(dir, "cannot open directory", err);
    int code = remove_file(dirfd(handle), dir, index_file, err);
    const struct dirent *entry;
    while (!code && (entry = readdir(handle)))
        if (is_own_file(entry->d_name))
            code = remove_file(dirfd(handle), dir, entry->d_name, err);
    closedir(handle);
    return code;
}

// ---------------------------------------------------------------------------------------------
// Writing

static int write_text(const char *dir, const char *name, const base_str *text, base_err *err) {
    char *path = base_path_join(dir, name);
    int code = base_file_write(path, text->data, text->len, err);
    base_free(path);
    return code;
}

static int write_all(const char *dir, const synthesis *s, const model_synth_options *options,
                     base_err *err) {
    const struct {
        const char *name;
        const base_str *text;
    } files[] = {
        {marker_file, &s->marker_text},
        {"config.json", &s->config_text},
        {"generation_config.json", &s->generation_text},
        {"tokenizer_config.json", &s->tokenizer.config},
        {"tiktoken.model", &s->tokenizer.model},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        int code = write_text(dir, files[i].name, files[i].text, err);
        if (code)
            return code;
    }
    int code = synth_write_shards(dir, &s->plan, options->seed, options->threads, err);
    return code ? code : write_text(dir, index_file, &s->index_text, err);
}

static uint64_t file_bytes(const synthesis *s) {
    uint64_t bytes = s->plan.bytes + s->index_text.len + s->tokenizer.model.len;
    for (int i = 0; i < s->plan.n_shards; i++) {
        base_str header = {0};
        synth_plan_header(&s->plan.shards[i], &header);
        bytes += header.len;
        base_str_free(&header);
    }
    return bytes;
}

// A second synthesis would remove the files of the first one. -1: somebody else is at it, or the
// directory cannot be opened. The lock ends with the descriptor; a file system without locks does
// without.
static int lock_dir(const char *dir, base_err *err) {
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        fail_path(dir, "cannot open directory", err);
    } else if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        base_fail(err, BASE_ERR_RESOURCE, "%s: another synthesis is writing there", dir);
        close(fd);
        fd = -1;
    }
    return fd;
}

static int write_locked(const char *dir, const synthesis *s, const model_synth_options *options,
                        base_err *err) {
    uint64_t reclaimable = 0;
    int code = check_dir(dir, &reclaimable, err);
    if (!code)
        code = check_space(dir, file_bytes(s) + spare_bytes, reclaimable, err);
    if (!code)
        code = remove_own_files(dir, err);
    if (code)
        return code;
    code = write_all(dir, s, options, err);
    if (code) // half a checkpoint is of no use and may be what fills the disk
        remove_own_files(dir, NULL);
    return code;
}

static int write_checkpoint(const char *dir, const synthesis *s, const model_synth_options *options,
                            base_err *err) {
    int code = make_dir(dir, err);
    if (code)
        return code;
    int lock = lock_dir(dir, err);
    if (lock < 0)
        return BASE_ERR_RESOURCE;
    code = write_locked(dir, s, options, err);
    close(lock);
    return code;
}

int model_synth(const char *dir, const model_synth_options *options, base_err *err) {
    synthesis s = {0};
    int code = make_config(&s, options, err);
    if (!code) {
        synth_plan_make(&s.plan, &s.parsed, s.tokenizer.n_ordinary);
        make_texts(&s, options);
        code = write_checkpoint(dir, &s, options, err);
    }
    synthesis_free(&s);
    return code;
}
