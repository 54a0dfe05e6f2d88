#include "base/log.h"

#include "base/str.h"
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// Not longer than PIPE_BUF, up to which a write to a pipe is atomic.
#define LINE_BYTES 4096

static _Atomic int lowest = BASE_LOG_INFO;

void base_log_set_level(base_log_level level) {
    atomic_store_explicit(&lowest, (int)level, memory_order_relaxed);
}

static void write_all(const char *p, size_t len) {
    while (len > 0) {
        ssize_t n = write(STDERR_FILENO, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; // there is nowhere left to complain to
        p += n;
        len -= (size_t)n;
    }
}

void base_log_at(base_log_level level, const char *file, int line, const char *format, ...) {
    static const char *const names[] = {"DEBUG", "INFO", "WARNING", "ERROR"};
    if ((int)level < atomic_load_explicit(&lowest, memory_order_relaxed))
        return;
    int saved = errno;
    char text[LINE_BYTES], stamp[32] = "";
    time_t now = time(NULL);
    struct tm local;
    if (localtime_r(&now, &local) != NULL)
        strftime(stamp, sizeof stamp, "%m-%d %H:%M:%S", &local);
    const char *slash = strrchr(file, '/');
    int head = snprintf(text, sizeof text / 2, "%s %s [%s:%d] ", names[level], stamp,
                        slash != NULL ? slash + 1 : file, line);
    size_t used = (size_t)head < sizeof text / 2 ? (size_t)head : sizeof text / 2 - 1;

    va_list args;
    va_start(args, format);
    vsnprintf(text + used, sizeof text - used - 1, format, args); // one byte stays for '\n'
    va_end(args);
    base_text_clean(text);
    size_t len = strlen(text);
    text[len] = '\n';
    write_all(text, len + 1);
    errno = saved;
}
