// Tokenises texts for the tests that compare with other tokenizers.
//   tokenize DIR     reads records {u32 flags, u32 length, bytes} from standard input and writes
//                    {u32 count, i32 ids} for each
//   tokenize --bits  writes the class bits of the code points 0 to 0x10ffff, a byte each
// Numbers are little endian.
#include "token/token.h"
#include "token/unicode.h"
#include <stdio.h>
#include <string.h>

static void write_bits(void) {
    for (uint32_t code = 0; code < 0x110000; code++)
        putchar((int)token_class(code));
}

static int tokenize(const char *dir) {
    base_err err;
    token_vocab *vocab;
    if (token_vocab_load(&vocab, dir, &err)) {
        fprintf(stderr, "tokenize: %s\n", err.message);
        return err.code;
    }
    uint32_t header[2];
    base_ids ids = {0};
    while (fread(header, sizeof header, 1, stdin) == 1) {
        char *text = base_alloc(header[1] + 1);
        if (fread(text, 1, header[1], stdin) != header[1]) {
            fprintf(stderr, "tokenize: a record is cut off\n");
            return BASE_ERR_USAGE;
        }
        ids.len = 0;
        token_encode(vocab, text, header[1], header[0], &ids);
        uint32_t count = (uint32_t)ids.len;
        fwrite(&count, sizeof count, 1, stdout);
        if (count > 0)
            fwrite(ids.data, sizeof *ids.data, count, stdout);
        base_free(text);
    }
    base_ids_free(&ids);
    token_vocab_free(vocab);
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: tokenize DIR|--bits\n");
        return BASE_ERR_USAGE;
    }
    if (strcmp(argv[1], "--bits") == 0)
        write_bits();
    else if (tokenize(argv[1]))
        return 1;
    return fflush(stdout) ? 1 : 0;
}
