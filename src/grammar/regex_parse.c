// Patterns -> trees. What ECMA-262 and Python's re read differently is refused, and so is what goes
// beyond regular languages.
#include "grammar/regex.h"

#include <stdio.h>
#include <string.h>

enum { MAX_COUNT = 1000000000 };

typedef struct parser {
    regex_tree *tree;
    const char *pattern;
    size_t len, at;
    int depth;
    base_err *err;
} parser;

static int refuse(const parser *p, size_t at, const char *what) {
    return base_fail(p->err, BASE_ERR_USAGE, "a regular expression with %s (at byte %zu)", what,
                     at);
}

static bool comes(const parser *p, const char *text) {
    size_t len = strlen(text);
    return p->len - p->at >= len && memcmp(p->pattern + p->at, text, len) == 0;
}

static bool take(parser *p, const char *text) {
    if (!comes(p, text))
        return false;
    p->at += strlen(text);
    return true;
}

// The pattern has been checked to be UTF-8.
static uint32_t take_character(parser *p) {
    const unsigned char *s = (const unsigned char *)p->pattern + p->at;
    int more = s[0] < 0xc0 ? 0 : s[0] < 0xe0 ? 1 : s[0] < 0xf0 ? 2 : 3;
    uint32_t c = more == 0 ? s[0] : s[0] & (0x3fu >> more);
    for (int i = 1; i <= more; i++)
        c = c << 6 | (s[i] & 0x3fu);
    p->at += (size_t)more + 1;
    return c;
}

// ---------------------------------------------------------------------------------------------

void regex_tree_free(regex_tree *t) {
    for (int i = 0; i < t->n_sets; i++)
        regex_set_free(&t->sets[i]);
    base_free(t->sets);
    base_free(t->nodes);
    *t = (regex_tree){0};
}

static int add_node(parser *p, regex_kind kind) {
    regex_tree *t = p->tree;
    if (t->n_nodes == t->cap_nodes) {
        t->cap_nodes = t->cap_nodes == 0 ? 64 : t->cap_nodes * 2;
        t->nodes = base_realloc(t->nodes, (size_t)t->cap_nodes * sizeof *t->nodes);
    }
    t->nodes[t->n_nodes] = (regex_node){.kind = kind, .set = -1, .child = -1, .sibling = -1};
    return t->n_nodes++;
}

// A node for a character of `set`, which is taken over.
static int add_character(parser *p, regex_set *set) {
    regex_tree *t = p->tree;
    regex_set_tidy(set);
    regex_set_drop_surrogates(set);
    int i = 0;
    for (; i < t->n_sets; i++)
        if (t->sets[i].n == set->n &&
            (set->n == 0 ||
             memcmp(t->sets[i].ranges, set->ranges, (size_t)set->n * 2 * sizeof *set->ranges) == 0))
            break;
    if (i < t->n_sets) {
        regex_set_free(set);
    } else {
        if (t->n_sets == t->cap_sets) {
            t->cap_sets = t->cap_sets == 0 ? 16 : t->cap_sets * 2;
            t->sets = base_realloc(t->sets, (size_t)t->cap_sets * sizeof *t->sets);
        }
        t->sets[t->n_sets++] = *set;
    }
    int node = add_node(p, REGEX_CHARACTER);
    t->nodes[node].set = i;
    return node;
}

// ---------------------------------------------------------------------------------------------

// One character, or one of the classes.
typedef struct item {
    bool is_class, negated;
    regex_class c;
    uint32_t character;
} item;

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

// `n` hexadecimal digits, or with n = 0 any number of them up to '}'.
static int parse_hex(parser *p, int n, uint32_t *out) {
    size_t start = p->at;
    uint32_t value = 0;
    int digits = 0;
    while (p->at < p->len && (n == 0 || digits < n) && hex_digit(p->pattern[p->at]) >= 0) {
        value = value * 16 + (uint32_t)hex_digit(p->pattern[p->at++]);
        digits++;
        if (value > REGEX_MAX_CODE_POINT)
            return refuse(p, start, "an escape beyond U+10FFFF");
    }
    if (digits == 0 || digits < n || (n == 0 && !take(p, "}")))
        return refuse(p, start, "an incomplete \\x or \\u escape");
    if (value >= 0xd800 && value <= 0xdfff)
        return refuse(p, start, "an escaped surrogate; write the character itself");
    *out = value;
    return 0;
}

static bool is_class_letter(char c, item *out) {
    switch (c) {
    case 'd':
    case 'D':
        out->c = REGEX_DIGIT;
        break;
    case 'w':
    case 'W':
        out->c = REGEX_WORD;
        break;
    case 's':
    case 'S':
        out->c = REGEX_SPACE;
        break;
    default:
        return false;
    }
    out->is_class = true;
    out->negated = c < 'a';
    return true;
}

static int refuse_escape(const parser *p, size_t at, char c) {
    char what[80];
    if (c >= '1' && c <= '9')
        return refuse(p, at, "a back reference, which is not supported");
    switch (c) {
    case 'k':
        return refuse(p, at, "a back reference (\\k), which is not supported");
    case 'b':
    case 'B':
        return refuse(p, at, "a word boundary (\\b, \\B), which is not supported");
    case 'p':
    case 'P':
        return refuse(p, at, "a Unicode property (\\p), which is not supported");
    default:
        snprintf(what, sizeof what, "the escape \\%c, which is not supported", c);
        return refuse(p, at, what);
    }
}

// After the backslash.
static int parse_escape(parser *p, bool in_class, item *out) {
    static const char letters[] = "nrtfv", controls[] = "\n\r\t\f\v";
    size_t at = p->at - 1;
    *out = (item){0};
    if (p->at == p->len)
        return refuse(p, at, "a backslash at its end");
    char c = p->pattern[p->at];
    const char *letter = c == '\0' ? NULL : strchr(letters, c);
    bool digit = c >= '0' && c <= '9', alphabetic = (c | 32) >= 'a' && (c | 32) <= 'z';
    if (!digit && !alphabetic) {
        out->character = take_character(p);
        return 0;
    }
    p->at++;
    if (is_class_letter(c, out))
        return 0;
    if (letter != NULL)
        out->character = (uint32_t)controls[letter - letters];
    else if (c == 'b' && in_class)
        out->character = '\b';
    else if (c == 'x')
        return parse_hex(p, 2, &out->character);
    else if (c == 'u')
        return parse_hex(p, take(p, "{") ? 0 : 4, &out->character);
    else if (c != '0')
        return refuse_escape(p, at, c);
    else if (p->at < p->len && p->pattern[p->at] >= '0' && p->pattern[p->at] <= '9')
        return refuse(p, at, "an octal escape, which is not supported");
    return 0;
}

static int parse_item(parser *p, item *out) {
    if (take(p, "\\"))
        return parse_escape(p, true, out);
    *out = (item){.character = take_character(p)};
    return 0;
}

// What is said with one of the classes is as large as the strictest dialect has it: all sets here
// are kept twice, as they certainly and as they possibly are, and "not" turns one into the other.
static int parse_members(parser *p, size_t start, regex_set *certain, regex_set *possible) {
    bool seen[REGEX_LINE_END][2] = {{false}}; // a pattern may be nothing but \W: once is enough
    bool after_class = false;                 // in [\w-.] the hyphen is one, and so in [\w--/]
    while (!take(p, "]")) {
        if (p->at == p->len)
            return refuse(p, start, "a class that does not end");
        item first, last;
        size_t at = p->at;
        int rc = parse_item(p, &first);
        if (rc != 0)
            return rc;
        bool hyphen = comes(p, "-") && p->at + 1 < p->len && p->pattern[p->at + 1] != ']';
        if (first.is_class && !seen[first.c][first.negated]) {
            regex_class_add(certain, possible, first.c, first.negated);
            seen[first.c][first.negated] = true;
            if (seen[first.c][!first.negated]) { // [\s\S] is everything, in all dialects
                regex_set_add(certain, 0, REGEX_MAX_CODE_POINT);
                regex_set_add(possible, 0, REGEX_MAX_CODE_POINT);
            }
        }
        last = first;
        if (first.is_class && hyphen) {
            p->at++;
            last.character = first.character = '-';
        } else if (hyphen && !after_class) {
            size_t dash = p->at++;
            rc = parse_item(p, &last);
            if (rc != 0)
                return rc;
            if (last.is_class)
                return refuse(p, dash, "a range that ends in a class");
            if (last.character < first.character)
                return refuse(p, at, "a range whose ends are in the wrong order");
        }
        if (!first.is_class || hyphen) {
            regex_set_add(certain, first.character, last.character);
            regex_set_add(possible, first.character, last.character);
        }
        after_class = first.is_class && hyphen;
    }
    return 0;
}

static int parse_class(parser *p, int *out) {
    size_t start = p->at - 1;
    bool negated = take(p, "^");
    if (comes(p, "]"))
        return refuse(p, start, "[] or [^], which mean different things in different dialects");
    regex_set certain = {0}, possible = {0};
    int rc = parse_members(p, start, &certain, &possible);
    if (negated) {
        regex_set_tidy(&possible);
        regex_set_invert(&possible);
    }
    if (rc == 0)
        *out = add_character(p, negated ? &possible : &certain);
    else
        regex_set_free(negated ? &possible : &certain);
    regex_set_free(negated ? &certain : &possible);
    return rc;
}

// ---------------------------------------------------------------------------------------------

// Names of groups are of no use here but must be names, or what follows is misread.
static int skip_name(parser *p, size_t start) {
    size_t from = p->at;
    for (; p->at < p->len && p->pattern[p->at] != '>'; p->at++) {
        unsigned char c = (unsigned char)p->pattern[p->at];
        bool letter = (c | 32) >= 'a' && (c | 32) <= 'z', digit = c >= '0' && c <= '9';
        if (!letter && c != '_' && c < 0x80 && !(digit && p->at > from))
            return refuse(p, start, "a group whose name is none");
    }
    return p->at > from && take(p, ">") ? 0 : refuse(p, start, "a group whose name does not end");
}

// After "(".
static int parse_group_start(parser *p) {
    static const struct {
        const char *text, *what;
    } refused[] = {
        {"?=", "look-ahead (?=, which is not supported"},
        {"?!", "negative look-ahead (?!, which is not supported"},
        {"?<=", "look-behind (?<=, which is not supported"},
        {"?<!", "negative look-behind (?<!, which is not supported"},
        {"?>", "an atomic group (?>, which is not supported"},
        {"?(", "a conditional group (?(, which is not supported"},
        {"?P=", "a back reference (?P=, which is not supported"},
        {"?#", "a comment (?#, which is not supported"},
    };
    size_t start = p->at - 1;
    if (!comes(p, "?") || take(p, "?:"))
        return 0;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (comes(p, refused[i].text))
            return refuse(p, start, refused[i].what);
    if (take(p, "?<") || take(p, "?P<"))
        return skip_name(p, start);
    return refuse(p, start, "inline flags (?, which are not supported");
}

static int parse_choice(parser *p, int *out);

static int parse_group(parser *p, int *out) {
    size_t start = p->at - 1;
    if (++p->depth > REGEX_MAX_DEPTH)
        return refuse(p, start, "groups nested too deep");
    int rc = parse_group_start(p);
    if (rc == 0)
        rc = parse_choice(p, out);
    if (rc != 0)
        return rc;
    p->depth--;
    return take(p, ")") ? 0 : refuse(p, start, "a group that does not end");
}

static int parse_atom(parser *p, int *out) {
    regex_set set = {0}, possible = {0};
    item one = {0};
    if (take(p, "("))
        return parse_group(p, out);
    if (take(p, "["))
        return parse_class(p, out);
    if (take(p, "^") || take(p, "$")) {
        *out = add_node(p, p->pattern[p->at - 1] == '^' ? REGEX_START : REGEX_END);
        return 0;
    }
    if (take(p, ".")) {
        one = (item){.is_class = true, .negated = true, .c = REGEX_LINE_END};
    } else if (take(p, "\\")) {
        int rc = parse_escape(p, false, &one);
        if (rc != 0)
            return rc;
    } else {
        one.character = take_character(p);
    }
    if (one.is_class)
        regex_class_add(&set, &possible, one.c, one.negated);
    else
        regex_set_add(&set, one.character, one.character);
    regex_set_free(&possible);
    *out = add_character(p, &set);
    return 0;
}

// ---------------------------------------------------------------------------------------------

static bool take_count(parser *p, int64_t *out) {
    size_t from = p->at;
    int64_t value = 0;
    for (; p->at < p->len && p->pattern[p->at] >= '0' && p->pattern[p->at] <= '9'; p->at++)
        value = value > MAX_COUNT ? value : value * 10 + (p->pattern[p->at] - '0');
    *out = value;
    return p->at > from;
}

// {n} {n,} {n,m}. Braces that hold anything else are plain characters: *is_count false.
static int parse_braces(parser *p, bool *is_count, int64_t *min, int64_t *max) {
    size_t start = p->at++; // "{"
    bool has_min = take_count(p, min), comma = take(p, ","), has_max = false;
    *max = *min;
    if (comma) {
        has_max = take_count(p, max);
        *max = has_max ? *max : REGEX_NO_LIMIT;
    }
    *is_count = take(p, "}") && (has_min || comma);
    if (*is_count && !has_min)
        return refuse(p, start, "{,n}, which means different things in different dialects");
    if (*is_count && has_max && *max < *min)
        return refuse(p, start, "a count whose ends are in the wrong order");
    if (!*is_count)
        p->at = start;
    return 0;
}

// *is_count false: there is none here.
static int parse_quantifier(parser *p, bool *is_count, int64_t *min, int64_t *max) {
    *is_count = true;
    *min = comes(p, "+");
    *max = comes(p, "?") ? 1 : REGEX_NO_LIMIT;
    if (take(p, "*") || take(p, "+") || take(p, "?"))
        return 0;
    *is_count = false;
    return comes(p, "{") ? parse_braces(p, is_count, min, max) : 0;
}

static int parse_term(parser *p, int *out) {
    size_t start = p->at;
    int64_t min, max, ignored;
    bool is_count, again;
    int rc = parse_quantifier(p, &is_count, &min, &max);
    if (rc == 0 && is_count)
        return refuse(p, start, "nothing to repeat");
    if (rc == 0)
        rc = parse_atom(p, out);
    size_t at = p->at;
    if (rc == 0)
        rc = parse_quantifier(p, &is_count, &min, &max);
    if (rc != 0 || !is_count)
        return rc;
    regex_kind kind = p->tree->nodes[*out].kind;
    if (p->pattern[at - 1] != ')' && (kind == REGEX_START || kind == REGEX_END))
        return refuse(p, at, "a repeated anchor");
    if (comes(p, "+"))
        return refuse(p, at, "a possessive quantifier, which is not supported");
    take(p, "?"); // lazy: the same language
    at = p->at;
    rc = parse_quantifier(p, &again, &ignored, &ignored);
    if (rc == 0 && again)
        return refuse(p, at, "two quantifiers in a row");
    if (rc != 0)
        return rc;
    int repeat = add_node(p, REGEX_REPEAT);
    p->tree->nodes[repeat].child = *out;
    p->tree->nodes[repeat].min = min;
    p->tree->nodes[repeat].max = max;
    *out = repeat;
    return 0;
}

static void append(regex_tree *t, int parent, int *last, int child) {
    if (*last < 0)
        t->nodes[parent].child = child;
    else
        t->nodes[*last].sibling = child;
    *last = child;
}

static int parse_sequence(parser *p, int *out) {
    *out = add_node(p, REGEX_SEQUENCE);
    for (int last = -1; p->at < p->len && !comes(p, "|") && !comes(p, ")");) {
        int child = -1, rc = parse_term(p, &child);
        if (rc != 0)
            return rc;
        append(p->tree, *out, &last, child);
    }
    if (p->tree->nodes[*out].child < 0)
        p->tree->nodes[*out].kind = REGEX_EMPTY;
    return 0;
}

static int parse_choice(parser *p, int *out) {
    *out = add_node(p, REGEX_CHOICE);
    int last = -1;
    do {
        int child = -1, rc = parse_sequence(p, &child);
        if (rc != 0)
            return rc;
        append(p->tree, *out, &last, child);
    } while (take(p, "|"));
    return 0;
}

int regex_parse(regex_tree *t, const char *pattern, size_t len, base_err *err) {
    *t = (regex_tree){0};
    if (len > REGEX_MAX_BYTES)
        return base_fail(err, BASE_ERR_USAGE, "a regular expression of more than %d bytes",
                         REGEX_MAX_BYTES);
    bool valid = true;
    for (size_t at = 0; at < len && valid;)
        at += base_utf8_next(pattern + at, len - at, &valid);
    if (!valid)
        return base_fail(err, BASE_ERR_USAGE, "a regular expression that is not UTF-8");
    parser p = {.tree = t, .pattern = pattern, .len = len, .err = err};
    int rc = parse_choice(&p, &t->root);
    if (rc == 0 && p.at < len)
        rc = refuse(&p, p.at, "a ) too many");
    if (rc != 0)
        regex_tree_free(t);
    return rc;
}
