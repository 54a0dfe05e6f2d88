// abruzzi verify: reads everything and says what is wrong.
#include "cli/cli.h"
#include "model/model.h"
#include <stdio.h>

int cmd_verify(const cli_options *o, base_err *err) {
    cli_set_log_level(o);
    model *m;
    int rc = model_open(&m, cli_argument(o, 0), NULL, err);
    if (rc != 0)
        return rc;
    base_str report = {0};
    rc = model_verify(m, cli_threads(o), &report, err);
    if (report.len > 0)
        fwrite(report.data, 1, report.len, stdout);
    base_str_free(&report);
    model_close(m);
    return rc;
}
