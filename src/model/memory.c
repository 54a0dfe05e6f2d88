// How much memory there is. A process in a container is killed by its control group's limit, not by
// what the machine has, so both count, on every level up to the root.
#include "model/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_FILE = 1 << 20 };

// The files of a control group hierarchy with memory limits.
typedef struct hierarchy {
    const char *mount, *limit, *usage;
    const char *cache[2]; // lines of memory.stat: page cache the kernel gives back when asked
} hierarchy;

static const hierarchy V2 = {
    "/sys/fs/cgroup", "memory.max", "memory.current", {"inactive_file ", "active_file "}};
static const hierarchy V1 = {"/sys/fs/cgroup/memory",
                             "memory.limit_in_bytes",
                             "memory.usage_in_bytes",
                             {"total_inactive_file ", "total_active_file "}};

static bool read_file(const char *root, const char *dir, const char *name, base_str *out) {
    base_str path = {0};
    base_str_printf(&path, "%s%s/%s", root, dir, name);
    bool good = access(path.data, R_OK) == 0 &&
                base_file_read(path.data, MAX_FILE, BASE_ERR_RESOURCE, out, NULL) == 0 &&
                out->len > 0;
    base_str_free(&path);
    return good;
}

// The number after `key` at the beginning of a line.
static bool find_number(const char *text, const char *key, uint64_t *out) {
    size_t n = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, n) != 0)
            continue;
        char *end;
        *out = strtoull(line + n, &end, 10);
        return end != line + n;
    }
    return false;
}

// What one group leaves; false when it has no limit ("max" is no number).
static bool group_left(const char *root, const hierarchy *h, const char *group, uint64_t *left) {
    base_str dir = {0}, text = {0};
    uint64_t limit, usage = 0, cache = 0;
    base_str_printf(&dir, "%s%s", h->mount, group);
    bool limited = read_file(root, dir.data, h->limit, &text) && find_number(text.data, "", &limit);
    if (limited && read_file(root, dir.data, h->usage, &text))
        find_number(text.data, "", &usage);
    if (limited && read_file(root, dir.data, "memory.stat", &text))
        for (int i = 0; i < 2; i++) {
            uint64_t n = 0;
            if (find_number(text.data, h->cache[i], &n))
                cache += n;
        }
    base_str_free(&dir);
    base_str_free(&text);
    if (!limited)
        return false;
    usage -= cache < usage ? cache : usage;
    *left = limit > usage ? limit - usage : 0;
    return true;
}

static void take_least(const char *root, const hierarchy *h, char *group, uint64_t *least) {
    for (;;) {
        uint64_t left;
        if (group_left(root, h, group, &left) && left < *least)
            *least = left;
        char *slash = strrchr(group, '/');
        if (!slash)
            return;
        *slash = 0;
    }
}

// One line of /proc/self/cgroup: "ID:CONTROLLERS:PATH"; "0::PATH" is version 2.
static void take_group(const char *root, char *line, uint64_t *least) {
    char *controllers = strchr(line, ':');
    char *path = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!path)
        return;
    *path++ = 0;
    controllers++;
    size_t len = strlen(path);
    if (len > 0 && path[len - 1] == '/')
        path[len - 1] = 0;
    if (!*controllers) {
        take_least(root, &V2, path, least);
        return;
    }
    for (char *save, *name = strtok_r(controllers, ",", &save); name;
         name = strtok_r(NULL, ",", &save))
        if (strcmp(name, "memory") == 0)
            take_least(root, &V1, path, least);
}

int model_memory_available(uint64_t *out, const char *root, base_err *err) {
    base_str text = {0};
    uint64_t kib = 0;
    bool good =
        read_file(root, "/proc", "meminfo", &text) && find_number(text.data, "MemAvailable:", &kib);
    *out = kib * 1024;
    if (good && read_file(root, "/proc/self", "cgroup", &text))
        for (char *save, *line = strtok_r(text.data, "\n", &save); line;
             line = strtok_r(NULL, "\n", &save))
            take_group(root, line, out);
    base_str_free(&text);
    return good ? 0
                : base_fail(err, BASE_ERR_RESOURCE, "%s/proc/meminfo: MemAvailable cannot be read",
                            root);
}
