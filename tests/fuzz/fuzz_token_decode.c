// Any bytes in any chunks are decoded to the same valid UTF-8, and valid UTF-8 to itself. The first
// byte of the input says how the rest is cut.
#include "base/base.h"
#include "token/token.h"
#include "token/unicode.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_utf8(const unsigned char *p, size_t len) {
    for (const unsigned char *end = p + len; p < end;) {
        uint32_t code;
        p += token_utf8_read(p, end, &code);
        if (code == TOKEN_BAD_BYTE)
            return false;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    uint32_t random = data[0];
    const uint8_t *text = data + 1;
    size_t len = size - 1;
    token_decoder whole = {0}, chunked = {0};
    base_str a = {0}, b = {0};
    token_decode_bytes(&whole, text, len, &a);
    token_decode_end(&whole, &a);
    for (size_t from = 0, n; from < len; from += n) {
        random = random * 1664525 + 1013904223;
        n = 1 + (random >> 24) % 5;
        if (n > len - from)
            n = len - from;
        token_decode_bytes(&chunked, text + from, n, &b);
        if (chunked.n_held < 0 || chunked.n_held > 3 ||
            (b.len > 0 && !is_utf8((const unsigned char *)b.data, b.len)))
            abort();
    }
    token_decode_end(&chunked, &b);
    if (a.len != b.len || memcmp(a.data, b.data, a.len) != 0)
        abort();
    if (is_utf8(text, len) && (a.len != len || memcmp(a.data, text, len) != 0))
        abort();
    base_str_free(&a);
    base_str_free(&b);
    return 0;
}
