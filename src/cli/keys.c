#include "cli/keys.h"
#include <string.h>

enum { MAX_FILE_BYTES = 1 << 20, MAX_KEYS = 10000 };

static int add_key(cli_keys *keys, const char *text, size_t len, const char *what, base_err *err) {
    if (len == 0)
        return base_fail(err, BASE_ERR_USAGE, "%s: a key is empty", what);
    for (size_t i = 0; i < len; i++) {
        if (text[i] <= ' ' || text[i] > '~')
            return base_fail(err, BASE_ERR_USAGE,
                             "%s: a key has a blank or a character beyond ASCII", what);
    }
    if (keys->n == MAX_KEYS)
        return base_fail(err, BASE_ERR_USAGE, "%s: more than %d keys", what, MAX_KEYS);
    keys->at = base_realloc(keys->at, (size_t)(keys->n + 1) * sizeof *keys->at);
    keys->at[keys->n++] = base_strndup(text, len);
    return 0;
}

// Blank lines, and blanks around a key, are nothing.
static int add_lines(cli_keys *keys, const char *text, size_t len, const char *path,
                     base_err *err) {
    int rc = 0, before = keys->n;
    for (const char *end = text + len, *next; text < end && rc == 0; text = next) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        next = stop != NULL ? stop + 1 : end;
        stop = stop != NULL ? stop : end;
        while (text < stop && (*text == ' ' || *text == '\t'))
            text++;
        while (stop > text && strchr(" \t\r", stop[-1]) != NULL && stop[-1] != '\0')
            stop--;
        if (text < stop)
            rc = add_key(keys, text, (size_t)(stop - text), path, err);
    }
    if (rc == 0 && keys->n == before)
        rc = base_fail(err, BASE_ERR_USAGE, "%s: there is no key in it", path);
    return rc;
}

int cli_keys_read(cli_keys *out, const cli_options *o, base_err *err) {
    *out = (cli_keys){0};
    int n, rc = 0;
    const char *const *given = cli_strings(o, "api-key", &n);
    for (int i = 0; i < n && rc == 0; i++)
        rc = add_key(out, given[i], strlen(given[i]), "--api-key", err);
    const char *path = cli_string(o, "api-key-file");
    if (rc == 0 && path != NULL) {
        base_str text = {0};
        rc = base_file_read(path, MAX_FILE_BYTES, BASE_ERR_USAGE, &text, err);
        if (rc == 0)
            rc = add_lines(out, text.data != NULL ? text.data : "", text.len, path, err);
        if (rc != 0)
            base_fail_prefix(err, "--api-key-file");
        base_str_free(&text);
    }
    if (rc != 0)
        cli_keys_free(out);
    return rc;
}

void cli_keys_free(cli_keys *keys) {
    for (int i = 0; i < keys->n; i++)
        base_free(keys->at[i]);
    base_free(keys->at);
    *keys = (cli_keys){0};
}
