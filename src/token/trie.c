// Building the trie: sort the strings, then walk the sorted list breadth first. A node is a range
// of strings with a common start.
#include "token/trie.h"
#include <stdlib.h>

typedef struct strings {
    const char *bytes;
    const uint32_t *offset;
} strings;

typedef struct range {
    uint32_t low, high; // in the sorted order
} range;

static size_t length(const strings *s, int32_t i) {
    return s->offset[i + 1] - s->offset[i];
}

static int compare(const void *a, const void *b, void *context) {
    const strings *s = context;
    int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    size_t n = length(s, i), m = length(s, j);
    int order = memcmp(s->bytes + s->offset[i], s->bytes + s->offset[j], n < m ? n : m);
    return order ? order : (n > m) - (n < m);
}

// The nodes of the trie, counted from what neighbours in the sorted order have in common. Fails on
// equal neighbours.
static int count_nodes(const strings *s, const int32_t *order, int n, uint32_t *nodes,
                       int32_t twice[2], base_err *err) {
    uint32_t count = 1; // the root
    for (int i = 0; i < n; i++) {
        size_t len = length(s, order[i]), common = 0;
        if (i > 0) {
            const char *a = s->bytes + s->offset[order[i - 1]], *b = s->bytes + s->offset[order[i]];
            size_t previous = length(s, order[i - 1]);
            while (common < len && common < previous && a[common] == b[common])
                common++;
            if (common == len && common == previous) {
                twice[0] = order[i - 1] < order[i] ? order[i - 1] : order[i];
                twice[1] = order[i - 1] < order[i] ? order[i] : order[i - 1];
                return base_fail(err, BASE_ERR_MODEL, "ids %d and %d are the same", twice[0],
                                 twice[1]);
            }
        }
        count += (uint32_t)(len - common);
    }
    *nodes = count;
    return 0;
}

// Numbers the nodes; `ranges` [n_nodes] is the queue.
static void number_nodes(token_trie *trie, const strings *s, const int32_t *order, int n,
                         range *ranges) {
    uint32_t made = 1, level_end = 1;
    size_t depth = 0;
    ranges[0] = (range){0, (uint32_t)n};
    for (uint32_t node = 0; node < trie->n_nodes; node++) {
        if (node == level_end) {
            level_end = made;
            depth++;
        }
        range r = ranges[node];
        trie->nodes[node].child = made;
        // The shortest sorts first, so only the first string of a range can end here.
        if (length(s, order[r.low]) == depth)
            trie->nodes[node].value = (uint32_t)(order[r.low++] + 1) & 0xffffff;
        while (r.low < r.high) {
            uint8_t c = (uint8_t)s->bytes[s->offset[order[r.low]] + depth];
            uint32_t first = r.low;
            while (r.low < r.high && (uint8_t)s->bytes[s->offset[order[r.low]] + depth] == c)
                r.low++;
            trie->nodes[made].label = c;
            ranges[made++] = (range){first, r.low};
        }
    }
    trie->nodes[trie->n_nodes].child = made;
}

static void fill_shortcuts(token_trie *trie) {
    for (int a = 0; a < 256; a++) {
        uint32_t node = token_trie_step(trie, 0, (uint8_t)a);
        trie->single[a] = node ? (int32_t)trie->nodes[node].value - 1 : -1;
        for (int b = 0; b < 256; b++)
            trie->pair[a << 8 | b] = node ? token_trie_step(trie, node, (uint8_t)b) : 0;
    }
}

int token_trie_build(token_trie *trie, const char *bytes, const uint32_t *offset, int n,
                     int32_t twice[2], base_err *err) {
    *trie = (token_trie){0};
    strings s = {bytes, offset};
    range *ranges = NULL;
    int code = 0;
    int32_t *order = base_try_calloc((size_t)n, sizeof *order);
    if (!order)
        goto no_memory;
    for (int i = 0; i < n; i++)
        order[i] = i;
    qsort_r(order, (size_t)n, sizeof *order, compare, &s);
    code = count_nodes(&s, order, n, &trie->n_nodes, twice, err);
    if (code)
        goto out;
    trie->nodes = base_try_calloc((size_t)trie->n_nodes + 1, sizeof *trie->nodes);
    trie->pair = base_try_calloc(256 * 256, sizeof *trie->pair);
    ranges = base_try_calloc(trie->n_nodes, sizeof *ranges);
    if (!trie->nodes || !trie->pair || !ranges)
        goto no_memory;
    number_nodes(trie, &s, order, n, ranges);
    fill_shortcuts(trie);
    goto out;
no_memory:
    code = base_fail(err, BASE_ERR_RESOURCE, "no memory for %d tokens", n);
out:
    base_free(order);
    base_free(ranges);
    if (code)
        token_trie_free(trie);
    return code;
}

void token_trie_free(token_trie *trie) {
    base_free(trie->nodes);
    base_free(trie->pair);
    *trie = (token_trie){0};
}
