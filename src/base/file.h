// Files.
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "base/err.h"
#include "base/str.h"
#include <stddef.h>
#include <stdint.h>

// Reads a whole regular file of at most `max_bytes` into `out` (cleared first). `code` is the error
// code for a missing, unreadable or too large file; the message names the path.
int base_file_read(const char *path, size_t max_bytes, int code, base_str *out, base_err *err);

// Opens a regular file for reading; returns the descriptor (close it) or -1 with `err` filled.
int base_file_open(const char *path, int code, uint64_t *size, base_err *err);

// Reads exactly `bytes` at `offset`, in as many pread calls as it takes. A short file is an error.
// ABRUZZI_FAULTS=1 with FAIL_IO=n makes the n-th call of the process fail.
int base_file_pread(int fd, void *out, size_t bytes, uint64_t offset, const char *path,
                    base_err *err);

// Writes `bytes` to `path` through a temporary file in the same folder and rename(2).
int base_file_write(const char *path, const void *bytes, size_t len, base_err *err);

// "DIR/NAME" in a new string the caller frees.
char *base_path_join(const char *dir, const char *name);

#endif
