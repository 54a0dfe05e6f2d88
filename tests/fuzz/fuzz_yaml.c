// The file of --config. What is accepted must keep its own promises.
#include "cli/settings.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const cli_settings *s) {
    if (s->n < 0 || s->n > 256)
        abort();
    for (int i = 0; i < s->n; i++) {
        const cli_setting *one = &s->at[i];
        if (one->line < 1 || (one->n_values != 1 && !one->list))
            abort();
        if (i > 0 && one->line < s->at[i - 1].line)
            abort();
        for (int j = 0; j < i; j++) {
            if (strcmp(one->name, s->at[j].name) == 0)
                abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    base_err err = {0};
    cli_settings *s;
    int rc = cli_settings_parse(&s, (const char *)data, size, "fuzz", &err);
    if (rc == 0)
        check(s);
    else if (s != NULL || err.code != rc || err.message[0] == '\0')
        abort();
    cli_settings_free(s);
    return 0;
}
