// Which code points no set of a pattern tells apart.
#include "grammar/regex.h"

#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b) {
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

// The intervals that no set cuts.
static void list_ranges(regex_alphabet *a, const regex_tree *t) {
    size_t n = 3;
    for (int i = 0; i < t->n_sets; i++)
        n += 2 * (size_t)t->sets[i].n;
    a->first = base_alloc(n * sizeof *a->first);
    n = 0;
    a->first[n++] = 0;
    a->first[n++] = 0xd800;
    a->first[n++] = 0xe000;
    for (int i = 0; i < t->n_sets; i++)
        for (int j = 0; j < t->sets[i].n; j++) {
            a->first[n++] = t->sets[i].ranges[2 * j];
            if (t->sets[i].ranges[2 * j + 1] < REGEX_MAX_CODE_POINT)
                a->first[n++] = t->sets[i].ranges[2 * j + 1] + 1;
        }
    qsort(a->first, n, sizeof *a->first, compare);
    a->n_ranges = 0;
    for (size_t i = 0; i < n; i++)
        if (a->n_ranges == 0 || a->first[i] != a->first[a->n_ranges - 1])
            a->first[a->n_ranges++] = a->first[i];
}

static int find_range(const regex_alphabet *a, uint32_t c) {
    int low = 0, high = a->n_ranges - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (a->first[middle] <= c)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

// Calls `visit` for each interval of the set. Sets have no surrogates.
static void each_range(regex_alphabet *a, const regex_set *s, void *context,
                       void (*visit)(regex_alphabet *a, int range, void *context)) {
    for (int j = 0; j < s->n; j++)
        for (int r = find_range(a, s->ranges[2 * j]);
             r < a->n_ranges && a->first[r] <= s->ranges[2 * j + 1]; r++)
            visit(a, r, context);
}

typedef struct cutting {
    int set;
    int *sizes;  // [class] intervals
    int *inside; // [class] of them in the set at hand
    int *fresh;  // [class] the class of those
    int *seen;   // [class] the last set that met it
    base_ids *members;
} cutting;

static void count_inside(regex_alphabet *a, int range, void *context) {
    cutting *cut = context;
    int c = a->classes[range];
    if (cut->seen[c] != cut->set) {
        cut->seen[c] = cut->set;
        cut->inside[c] = 0;
        cut->fresh[c] = -1;
    }
    cut->inside[c]++;
}

// A class that the set has only a part of is cut in two.
static void move_inside(regex_alphabet *a, int range, void *context) {
    cutting *cut = context;
    int c = a->classes[range];
    if (cut->fresh[c] < 0 && cut->inside[c] == cut->sizes[c])
        return;
    if (cut->fresh[c] < 0) {
        int fresh = a->n_classes++;
        cut->fresh[c] = fresh;
        cut->sizes[fresh] = cut->inside[c];
        cut->sizes[c] -= cut->inside[c];
        cut->seen[fresh] = -1;
    }
    a->classes[range] = cut->fresh[c];
}

static void list_member(regex_alphabet *a, int range, void *context) {
    cutting *cut = context;
    int c = a->classes[range];
    if (cut->seen[c] != cut->set)
        base_ids_add(cut->members, c);
    cut->seen[c] = cut->set;
}

void regex_alphabet_make(regex_alphabet *a, const regex_tree *t) {
    *a = (regex_alphabet){.n_classes = 1};
    list_ranges(a, t);
    size_t n = (size_t)a->n_ranges;
    a->classes = base_calloc(n, sizeof *a->classes);
    base_ids members = {0};
    cutting cut = {.members = &members};
    cut.sizes = base_calloc(n, sizeof *cut.sizes);
    cut.inside = base_calloc(n, sizeof *cut.inside);
    cut.fresh = base_calloc(n, sizeof *cut.fresh);
    cut.seen = base_alloc(n * sizeof *cut.seen);
    memset(cut.seen, 0xff, n * sizeof *cut.seen); // -1
    a->classes[find_range(a, 0xd800)] = -1;
    cut.sizes[0] = a->n_ranges - 1;
    for (cut.set = 0; cut.set < t->n_sets; cut.set++) {
        each_range(a, &t->sets[cut.set], &cut, count_inside);
        each_range(a, &t->sets[cut.set], &cut, move_inside);
    }
    a->begins = base_alloc(((size_t)t->n_sets + 1) * sizeof *a->begins);
    memset(cut.seen, 0xff, n * sizeof *cut.seen);
    for (cut.set = 0; cut.set < t->n_sets; cut.set++) {
        a->begins[cut.set] = (int)members.len;
        each_range(a, &t->sets[cut.set], &cut, list_member);
    }
    a->begins[t->n_sets] = (int)members.len;
    a->members = members.data;
    base_free(cut.sizes);
    base_free(cut.inside);
    base_free(cut.fresh);
    base_free(cut.seen);
}

void regex_alphabet_free(regex_alphabet *a) {
    base_free(a->first);
    base_free(a->classes);
    base_free(a->begins);
    base_free(a->members);
    *a = (regex_alphabet){0};
}
