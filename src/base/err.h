// Errors: a function that can fail returns 0, or a code below, and fills a base_err whose message
// names the field, file or tensor that is wrong. The codes are the program's exit statuses.
#ifndef BASE_ERR_H
#define BASE_ERR_H

enum {
    BASE_OK = 0,
    BASE_ERR_USAGE = 64,    // a flag or a request parameter is wrong
    BASE_ERR_MODEL = 65,    // the checkpoint, its config or its tokenizer is refused
    BASE_ERR_RANK = 70,     // a rank was lost, hung or produced only NaN
    BASE_ERR_RESOURCE = 71, // memory, port, permission or file system
};

typedef struct base_err {
    int code;           // one of the above, 0 if nothing failed
    char message[1000]; // one line, no trailing newline
} base_err;

// Fills `err` (may be NULL) and returns `code`, so that callers can write `return base_fail(...)`.
// The message is cut, on a UTF-8 boundary, if it is too long; control bytes are replaced by '?',
// because names in messages come from hostile files.
int base_fail(base_err *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// Puts "PREFIX: " before the message of an error that has already been filled; returns its code.
int base_fail_prefix(base_err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
