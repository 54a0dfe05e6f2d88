// Any reply in any pieces: the reader must find the same tokens, texts and errors as in one piece,
// and take for JSON nothing that the strict parser refuses as malformed. The first byte is the size
// of the pieces, the second one the status.
#include "measure/scan.h"
#include "measure/stream.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static measure_reply read_pieces(const char *bytes, size_t len, size_t piece, int status) {
    measure_reply reply = {.start_ns = 1, .prompt_tokens = -1, .output_tokens = -1};
    measure_stream stream = {.reply = &reply};
    for (size_t at = 0; at < len; at += piece)
        measure_stream_push(&stream, bytes + at, len - at < piece ? len - at : piece, 5);
    const measure_end end = {.status = status, .error = "", .at_ns = 9};
    measure_stream_end(&stream, &end);
    return reply;
}

static void require(bool good) {
    if (!good)
        abort();
}

static void check_same(const measure_reply *a, const measure_reply *b) {
    require(a->success == b->success && a->n_gaps == b->n_gaps);
    require(a->prompt_tokens == b->prompt_tokens && a->output_tokens == b->output_tokens);
    require(a->text.len == b->text.len);
    require(a->text.len == 0 || memcmp(a->text.data, b->text.data, a->text.len) == 0);
    require(a->success || strcmp(a->error, b->error) == 0);
}

// What Jansson reads, this must read too; Jansson refuses more (text that is no UTF-8, numbers out
// of range), but takes a NUL for the end.
static void check_json(const char *bytes, size_t len) {
    if (memchr(bytes, '\0', len) != NULL)
        return;
    json_error_t e;
    json_t *value = json_loadb(bytes, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
    measure_scan scan = {.at = bytes, .end = bytes + len};
    measure_scan_peek(&scan, ' ');
    measure_scan_skip(&scan);
    require(value == NULL || measure_scan_done(&scan) || len > 256);
    json_decref(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    const char *bytes = (const char *)data + 2;
    size_t len = size - 2, piece = data[0] % 61 + 1;
    int status = data[1] & 1 ? 429 : 200;
    measure_reply cut = read_pieces(bytes, len, piece, status);
    measure_reply whole = read_pieces(bytes, len, len + 1, status);
    check_same(&cut, &whole);
    check_json(bytes, len);
    measure_reply_free(&cut);
    measure_reply_free(&whole);
    return 0;
}
