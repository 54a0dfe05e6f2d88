#include "grammar/regex.h"

int grammar_dfa_regex(grammar_dfa **out, const char *pattern, size_t len, unsigned flags,
                      base_err *err) {
    *out = NULL;
    regex_tree tree;
    int rc = regex_parse(&tree, pattern, len, err);
    if (rc != 0)
        return rc;
    regex_alphabet alphabet;
    regex_alphabet_make(&alphabet, &tree);
    grammar_draft draft;
    rc = regex_determine(&draft, &tree, &alphabet, flags & GRAMMAR_REGEX_SEARCH, err);
    if (rc == 0)
        rc = regex_to_bytes(out, &draft, &alphabet, err);
    regex_alphabet_free(&alphabet);
    regex_tree_free(&tree);
    return rc;
}
