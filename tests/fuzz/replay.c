// Runs a fuzz target over the files and folders named, without a fuzzer: `make test` replays every
// seed and every input that once found a defect.
#include "base/base.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_FILE_BYTES ((size_t)64 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path) {
    base_err err = {0};
    base_str input = {0};
    if (base_file_read(path, MAX_FILE_BYTES, 1, &input, &err) != 0) {
        fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
    printf("# %s\n", path); // before the run, so that a crash has a name
    fflush(stdout);
    // A copy of just the right size, so that a sanitizer sees a read of even one byte too many.
    uint8_t *copy = base_alloc(input.len);
    if (input.len > 0)
        memcpy(copy, input.data, input.len);
    LLVMFuzzerTestOneInput(copy, input.len);
    base_free(copy);
    base_str_free(&input);
    return 1;
}

static int replay(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return replay_file(path);
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort), files = 0;
    for (int i = 0; i < count; i++) {
        if (entries[i]->d_name[0] != '.') {
            char *child = base_path_join(path, entries[i]->d_name);
            files += replay(child);
            base_free(child);
        }
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    return files;
}

int main(int argc, char **argv) {
    int files = 0;
    for (int i = 1; i < argc; i++)
        files += replay(argv[i]);
    printf("%d inputs\n", files);
    return files > 0 ? 0 : 1;
}
