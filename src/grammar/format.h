// Inside grammar_dfa_format: the formats that a regular expression would not fit.
#ifndef GRAMMAR_FORMAT_H
#define GRAMMAR_FORMAT_H

#include "grammar/draft.h"

// RFC 1123's host names, with `local` a mailbox at one.
int format_host(grammar_dfa **out, bool local, base_err *err);

#endif
