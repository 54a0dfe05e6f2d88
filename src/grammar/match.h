// Where an output stands in a program's language, byte by byte, and which ids may come next.
//
// Several ways to read the bytes so far may be open at once (anyOf); each is a stack of frames, one
// for each value that is not complete. Masks are found by walking the trie of the vocabulary's
// tokens, or in a cache: two places that allow the same next ids have the same key, counters far
// from their bounds included.
#ifndef GRAMMAR_MATCH_H
#define GRAMMAR_MATCH_H

#include "grammar/program.h"
#include "token/token.h"

// The tokens of a vocabulary as a trie, and sets of them that many places need; immutable.
typedef struct grammar_trie grammar_trie;
// Control tokens and ids without bytes are left out.
grammar_trie *grammar_trie_create(const token_vocab *vocab);
void grammar_trie_free(grammar_trie *t); // NULL is fine
size_t grammar_trie_bytes(const grammar_trie *t);

// A program with the masks found so far.
typedef struct grammar_language grammar_language;
// Takes the program over. The trie must outlive it.
grammar_language *grammar_language_create(const grammar_trie *t, grammar_program *p);
void grammar_language_free(grammar_language *l); // NULL is fine
size_t grammar_language_bytes(const grammar_language *l);
void grammar_language_counts(const grammar_language *l, uint64_t *masks, uint64_t *found);

typedef struct grammar_matcher grammar_matcher;
// The beginning of the language. `suffix` [suffix_len] must come after it ("" for none) and is
// copied.
grammar_matcher *grammar_matcher_create(grammar_language *l, const char *suffix, size_t suffix_len);
void grammar_matcher_free(grammar_matcher *m); // NULL is fine

// Takes the bytes of one token; false, and nothing changed, when they cannot come next.
bool grammar_matcher_push(grammar_matcher *m, const char *bytes, size_t len);
// Undoes the last `n` pushes (at most GRAMMAR_MAX_ROLLBACK of grammar.h since creation).
void grammar_matcher_rollback(grammar_matcher *m, int n);
bool grammar_matcher_may_end(const grammar_matcher *m);  // the bytes so far are complete
bool grammar_matcher_must_end(const grammar_matcher *m); // and nothing can be added
// Sets `mask` [(n_ids + 31) / 32] to the ids whose bytes may come next. (None: must_end.)
void grammar_matcher_mask(grammar_matcher *m, uint32_t *mask, int n_ids);

#endif
