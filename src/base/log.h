// Log lines on standard error, in vLLM's form: "INFO 11-06 12:00:00 [plan.c:42] text".
#ifndef BASE_LOG_H
#define BASE_LOG_H

typedef enum { BASE_LOG_DEBUG, BASE_LOG_INFO, BASE_LOG_WARNING, BASE_LOG_ERROR } base_log_level;

void base_log_set_level(base_log_level level); // default INFO
// One write(2) a line, so that lines of several threads do not mix. Control bytes become '?'.
void base_log_at(base_log_level level, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#define base_debug(...) base_log_at(BASE_LOG_DEBUG, __FILE__, __LINE__, __VA_ARGS__)
#define base_info(...) base_log_at(BASE_LOG_INFO, __FILE__, __LINE__, __VA_ARGS__)
#define base_warn(...) base_log_at(BASE_LOG_WARNING, __FILE__, __LINE__, __VA_ARGS__)
#define base_error(...) base_log_at(BASE_LOG_ERROR, __FILE__, __LINE__, __VA_ARGS__)

#endif
