// Bytes to valid UTF-8, piece by piece.
#include "token/token.h"

static const char replacement[] = "\xef\xbf\xbd";

// The length of the sequence that a byte begins; 0 when none can begin with it.
static int sequence_length(unsigned char first) {
    if (first >= 0xc2 && first < 0xe0)
        return 2;
    if (first >= 0xe0 && first < 0xf0)
        return 3;
    return first >= 0xf0 && first < 0xf5 ? 4 : 0;
}

// Whether `byte` can follow the held bytes (Unicode, table 3-7: the second byte rules out overlong
// forms, surrogates and values over 0x10ffff).
static bool can_follow(const token_decoder *decoder, unsigned char byte) {
    unsigned char low = 0x80, high = 0xbf;
    if (decoder->n_held == 1) {
        switch (decoder->held[0]) {
        case 0xe0:
            low = 0xa0;
            break;
        case 0xed:
            high = 0x9f;
            break;
        case 0xf0:
            low = 0x90;
            break;
        case 0xf4:
            high = 0x8f;
            break;
        default:
            break;
        }
    }
    return byte >= low && byte <= high;
}

static void decode_byte(token_decoder *decoder, unsigned char byte, base_str *out) {
    if (decoder->n_held > 0) {
        if (can_follow(decoder, byte)) {
            decoder->held[decoder->n_held++] = byte;
            if (decoder->n_held == sequence_length(decoder->held[0])) {
                base_str_add(out, decoder->held, (size_t)decoder->n_held);
                decoder->n_held = 0;
            }
            return;
        }
        token_decode_end(decoder, out);
    }
    if (byte < 0x80) {
        base_str_add(out, &byte, 1);
    } else if (sequence_length(byte) > 0) {
        decoder->held[0] = byte;
        decoder->n_held = 1;
    } else {
        base_str_adds(out, replacement);
    }
}

void token_decode_bytes(token_decoder *decoder, const void *bytes, size_t len, base_str *out) {
    const unsigned char *p = bytes;
    for (size_t i = 0; i < len; i++)
        decode_byte(decoder, p[i], out);
}

void token_decode(token_decoder *decoder, const token_vocab *vocab, int32_t id, bool skip_special,
                  base_str *out) {
    if (skip_special && token_is_special(vocab, id))
        return;
    size_t len;
    const char *bytes = token_bytes(vocab, id, &len);
    token_decode_bytes(decoder, bytes, len, out);
}

void token_decode_end(token_decoder *decoder, base_str *out) {
    if (decoder->n_held > 0)
        base_str_adds(out, replacement);
    decoder->n_held = 0;
}
