#include "base/file.h"

#include "base/fault.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int base_file_open(const char *path, int code, uint64_t *size, base_err *err) {
    // O_NONBLOCK so that a FIFO in place of the file is refused below instead of waited for.
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        base_fail(err, code, "%s: %s", path, strerror(errno));
        return -1;
    }
    struct stat st;
    if (fstat(fd, &st) != 0)
        base_fail(err, code, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        base_fail(err, code, "%s: not a regular file", path);
    else {
        *size = (uint64_t)st.st_size;
        return fd;
    }
    close(fd);
    return -1;
}

// Reads to the end, not to the size of before: the file may change meanwhile.
static int read_all(int fd, const char *path, size_t max_bytes, int code, base_str *out,
                    base_err *err) {
    for (;;) {
        base_str_reserve(out, 1); // to see the end, or one byte too many
        size_t room = out->cap - out->len - 1;
        ssize_t n = read(fd, out->data + out->len, room < SSIZE_MAX ? room : SSIZE_MAX);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return base_fail(err, code, "%s: %s", path, strerror(errno));
        if (n == 0)
            break;
        out->len += (size_t)n;
        out->data[out->len] = '\0';
        if (out->len > max_bytes)
            return base_fail(err, code, "%s: larger than %zu bytes", path, max_bytes);
    }
    return 0;
}

int base_file_read(const char *path, size_t max_bytes, int code, base_str *out, base_err *err) {
    base_str_clear(out);
    uint64_t size;
    int fd = base_file_open(path, code, &size, err);
    if (fd < 0)
        return code;
    int rc = 0;
    if (size > max_bytes) {
        rc = base_fail(err, code, "%s: %llu bytes, larger than %zu", path, (unsigned long long)size,
                       max_bytes);
    } else {
        base_str_reserve(out, (size_t)size + 1);
        rc = read_all(fd, path, max_bytes, code, out, err);
    }
    close(fd);
    return rc;
}

int base_file_pread(int fd, void *out, size_t bytes, uint64_t offset, const char *path,
                    base_err *err) {
    if (base_fault_io_due())
        return base_fail(err, BASE_ERR_RESOURCE, "%s: %s", path, strerror(EIO));
    if (offset > INT64_MAX || bytes > INT64_MAX - offset)
        return base_fail(err, BASE_ERR_MODEL, "%s: %zu bytes at %llu are past any file's end", path,
                         bytes, (unsigned long long)offset);
    size_t done = 0;
    while (done < bytes) {
        // The kernel moves at most 2 GiB less a page in one call.
        ssize_t n = pread(fd, (char *)out + done, bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return base_fail(err, BASE_ERR_RESOURCE, "%s: reading %zu bytes at %llu: %s", path,
                             bytes, (unsigned long long)offset, strerror(errno));
        if (n == 0)
            return base_fail(err, BASE_ERR_MODEL, "%s: ends at byte %llu, wanted %zu bytes at %llu",
                             path, (unsigned long long)(offset + done), bytes,
                             (unsigned long long)offset);
        done += (size_t)n;
    }
    return 0;
}

static int write_all(int fd, const char *p, size_t len) {
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

// No fsync: readers must never see half a file, but after a power cut it is just made again.
int base_file_write(const char *path, const void *bytes, size_t len, base_err *err) {
    static _Atomic unsigned serial;
    base_str temporary = {0};
    base_str_printf(&temporary, "%s.tmp.%ld.%u", path, (long)getpid(),
                    atomic_fetch_add_explicit(&serial, 1, memory_order_relaxed));
    int rc = 0;
    int fd = open(temporary.data, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) {
        rc = base_fail(err, BASE_ERR_RESOURCE, "%s: %s", temporary.data, strerror(errno));
    } else {
        int failed = write_all(fd, bytes, len) != 0 ? errno : 0;
        if (close(fd) != 0 && failed == 0)
            failed = errno;
        if (failed == 0 && rename(temporary.data, path) != 0)
            failed = errno;
        if (failed != 0) {
            rc = base_fail(err, BASE_ERR_RESOURCE, "%s: %s", path, strerror(failed));
            unlink(temporary.data);
        }
    }
    base_str_free(&temporary);
    return rc;
}

char *base_path_join(const char *dir, const char *name) {
    size_t len = strlen(dir);
    base_str path = {0};
    base_str_add(&path, dir, len);
    if (len > 0 && dir[len - 1] != '/')
        base_str_adds(&path, "/");
    base_str_adds(&path, name);
    return path.data;
}
