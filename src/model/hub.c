// "org/name" -> the snapshot in the local Hugging Face cache. Nothing is downloaded.
#include "model/internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_directory(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

// Letters, digits, '.', '_' and '-', not beginning with '.': safe as a part of a path.
static bool is_plain(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)text[i]) && !strchr("._-", text[i]))
            return false;
    return len > 0 && len <= 96 && text[0] != '.';
}

static bool is_hub_id(const char *id) {
    const char *slash = strchr(id, '/');
    return slash && is_plain(id, (size_t)(slash - id)) && is_plain(slash + 1, strlen(slash + 1));
}

static const char *environment(const char *name) {
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

// As huggingface_hub finds it.
static void cache_directory(base_str *out) {
    const char *dir;
    if ((dir = environment("HF_HUB_CACHE")) || (dir = environment("HUGGINGFACE_HUB_CACHE"))) {
        base_str_adds(out, dir);
    } else if ((dir = environment("HF_HOME"))) {
        base_str_printf(out, "%s/hub", dir);
    } else if ((dir = environment("XDG_CACHE_HOME"))) {
        base_str_printf(out, "%s/huggingface/hub", dir);
    } else {
        dir = environment("HOME");
        base_str_printf(out, "%s/.cache/huggingface/hub", dir ? dir : "");
    }
}

static int not_cached(const char *id, const char *cache, base_err *err) {
    return base_fail(err, BASE_ERR_MODEL,
                     "%s: no such directory, and not in the Hugging Face cache %s; download it "
                     "with: hf download %s",
                     id, cache, id);
}

static int find_snapshot(char **out, const char *id, const char *cache, base_err *err) {
    const char *slash = strchr(id, '/');
    base_str repo = {0}, path = {0}, revision = {0};
    base_str_printf(&repo, "%s/models--%.*s--%s", cache, (int)(slash - id), id, slash + 1);
    base_str_printf(&path, "%s/refs/main", repo.data);
    int rc = 0;
    if (!is_directory(repo.data) || access(path.data, F_OK) != 0) {
        rc = not_cached(id, cache, err);
    } else if ((rc = base_file_read(path.data, 256, BASE_ERR_MODEL, &revision, err)) == 0) {
        while (revision.len > 0 && isspace((unsigned char)revision.data[revision.len - 1]))
            revision.data[--revision.len] = 0;
        if (revision.len == 0 || !is_plain(revision.data, revision.len))
            rc = base_fail(err, BASE_ERR_MODEL, "%s: not a revision", path.data);
    }
    if (rc == 0) {
        base_str_clear(&path);
        base_str_printf(&path, "%s/snapshots/%s", repo.data, revision.data);
        if (is_directory(path.data))
            *out = base_strdup(path.data);
        else
            rc = not_cached(id, cache, err);
    }
    base_str_free(&repo);
    base_str_free(&path);
    base_str_free(&revision);
    return rc;
}

int model_hub_resolve(char **out, const char *dir_or_id, base_err *err) {
    *out = NULL;
    if (is_directory(dir_or_id)) {
        *out = base_strdup(dir_or_id);
        return 0;
    }
    if (access(dir_or_id, F_OK) == 0)
        return base_fail(err, BASE_ERR_MODEL, "%s: not a directory", dir_or_id);
    if (!is_hub_id(dir_or_id))
        return base_fail(err, BASE_ERR_MODEL, "%s: no such directory", dir_or_id);
    base_str cache = {0};
    cache_directory(&cache);
    int rc = find_snapshot(out, dir_or_id, cache.data, err);
    base_str_free(&cache);
    return rc;
}
