// abruzzi verify: reads everything and says what is wrong.
#include "cli/stack.h"
#include <stdio.h>

static int verify_tokenizer(const model *m, base_str *report, base_err *err) {
    token_vocab *vocab;
    int rc = cli_vocab_load(&vocab, m, err);
    if (rc != 0) {
        base_str_printf(report, "%s\n", err->message);
        return rc;
    }
    base_str_printf(report, "ok: the tokenizer has %d ids\n", token_vocab_size(vocab));
    token_vocab_free(vocab);
    return 0;
}

int cmd_verify(const cli_options *o, base_err *err) {
    cli_set_log_level(o);
    model *m;
    int rc = model_open(&m, cli_argument(o, 0), NULL, err);
    if (rc != 0)
        return rc;
    base_str report = {0};
    // Both are looked at, whatever the first one says; the weights' error counts.
    base_err of_tokenizer;
    int rc_tokenizer = verify_tokenizer(m, &report, &of_tokenizer);
    rc = model_verify(m, cli_threads(o), &report, err);
    if (rc == 0 && rc_tokenizer != 0)
        rc = base_fail(err, of_tokenizer.code, "%s", of_tokenizer.message);
    if (report.len > 0)
        fwrite(report.data, 1, report.len, stdout);
    base_str_free(&report);
    model_close(m);
    return rc;
}
