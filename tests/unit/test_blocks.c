// The block pool and the prefix cache by themselves.
#include "engine/blocks.h"
#include "engine/prefix.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect_list(const engine_blocks *b, const int32_t *ids, int n) {
    int32_t at = b->n_blocks;
    for (int i = 0; i < n; i++) {
        assert_int_equal(b->at[at].next, ids[i]);
        assert_int_equal(b->at[ids[i]].prev, at);
        assert_int_equal(b->at[ids[i]].refs, 0);
        at = ids[i];
    }
    assert_int_equal(b->at[at].next, b->n_blocks);
    assert_int_equal(b->n_free, n);
}

static void test_least_recently_used_goes_first(void **state) {
    (void)state;
    engine_blocks b;
    engine_blocks_init(&b, 4);
    expect_list(&b, (const int32_t[]){0, 1, 2, 3}, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(engine_blocks_take(&b), i);
    expect_list(&b, NULL, 0);
    engine_blocks_unref(&b, 2, true);
    engine_blocks_unref(&b, 0, true);
    expect_list(&b, (const int32_t[]){2, 0}, 2);
    engine_blocks_unref(&b, 3, false); // worthless: next to be taken
    expect_list(&b, (const int32_t[]){3, 2, 0}, 3);
    assert_int_equal(engine_blocks_take(&b), 3);
    assert_int_equal(engine_blocks_take(&b), 2);
    engine_blocks_free(&b);
}

static void test_references_keep_and_revive(void **state) {
    (void)state;
    engine_blocks b;
    engine_blocks_init(&b, 3);
    assert_int_equal(engine_blocks_take(&b), 0);
    engine_blocks_ref(&b, 0);
    engine_blocks_unref(&b, 0, true);
    assert_int_equal(b.at[0].refs, 1);
    expect_list(&b, (const int32_t[]){1, 2}, 2);
    engine_blocks_unref(&b, 0, true);
    expect_list(&b, (const int32_t[]){1, 2, 0}, 3);
    engine_blocks_ref(&b, 2); // out of the middle
    expect_list(&b, (const int32_t[]){1, 0}, 2);
    assert_int_equal(b.at[2].refs, 1);
    engine_blocks_free(&b);
}

// Random takes, references and releases against plain counters.
static void test_random_against_counters(void **state) {
    (void)state;
    enum { N = 13 };
    engine_blocks b;
    engine_blocks_init(&b, N);
    int refs[N] = {0};
    unsigned seed = 7;
    for (int step = 0; step < 20000; step++) {
        int32_t id = rand_r(&seed) % N;
        switch (rand_r(&seed) % 3) {
        case 0:
            if (b.n_free == 0)
                break;
            id = engine_blocks_take(&b);
            assert_int_equal(refs[id]++, 0);
            break;
        case 1:
            engine_blocks_ref(&b, id);
            refs[id]++;
            break;
        default:
            if (refs[id] == 0)
                break;
            engine_blocks_unref(&b, id, rand_r(&seed) % 2);
            refs[id]--;
        }
        int n_free = 0, n_listed = 0;
        for (int i = 0; i < N; i++) {
            assert_int_equal(b.at[i].refs, refs[i]);
            n_free += refs[i] == 0;
        }
        for (int32_t i = b.at[N].next; i != N; i = b.at[i].next, n_listed++)
            assert_int_equal(refs[i], 0);
        assert_int_equal(b.n_free, n_free);
        assert_int_equal(n_listed, n_free);
    }
    engine_blocks_free(&b);
}

// ---------------------------------------------------------------------------------------------

enum { SIZE = 4 };
static const int32_t text[3 * SIZE] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

// Caches `text` in blocks 5, 3, 1.
static void fill(engine_prefix *c, uint64_t salt) {
    assert_int_equal(engine_prefix_add(c, 5, ENGINE_NO_BLOCK, text, salt), 5);
    assert_int_equal(engine_prefix_add(c, 3, 5, text + SIZE, salt), 3);
    assert_int_equal(engine_prefix_add(c, 1, 3, text + 2 * SIZE, salt), 1);
}

static void test_finds_the_longest_chain(void **state) {
    (void)state;
    engine_prefix c;
    int32_t table[3];
    engine_prefix_init(&c, 8, SIZE, 42);
    assert_int_equal(engine_prefix_find(&c, text, 3, 0, table), 0);
    fill(&c, 0);
    assert_int_equal(engine_prefix_find(&c, text, 3, 0, table), 3);
    assert_memory_equal(table, ((int32_t[]){5, 3, 1}), sizeof table);
    assert_int_equal(engine_prefix_find(&c, text, 2, 0, table), 2);
    assert_int_equal(engine_prefix_find(&c, text, 0, 0, table), 0);
    int32_t other[3 * SIZE];
    for (int i = 0; i < 3 * SIZE; i++) {
        memcpy(other, text, sizeof other);
        other[i] = 99;
        assert_int_equal(engine_prefix_find(&c, other, 3, 0, table), i / SIZE);
    }
    // The same ids after another chain are another block.
    assert_int_equal(engine_prefix_find(&c, text + SIZE, 2, 0, table), 0);
    engine_prefix_free(&c);
}

static void test_salts_never_meet(void **state) {
    (void)state;
    engine_prefix c;
    int32_t table[3];
    engine_prefix_init(&c, 8, SIZE, 42);
    fill(&c, 1);
    assert_int_equal(engine_prefix_find(&c, text, 3, 2, table), 0);
    assert_int_equal(engine_prefix_find(&c, text, 3, 0, table), 0);
    assert_int_equal(engine_prefix_add(&c, 6, ENGINE_NO_BLOCK, text, 2), 6);
    assert_int_equal(engine_prefix_find(&c, text, 3, 2, table), 1);
    assert_int_equal(table[0], 6);
    engine_prefix_free(&c);
}

static void test_equal_content_has_one_block(void **state) {
    (void)state;
    engine_prefix c;
    engine_prefix_init(&c, 8, SIZE, 42);
    fill(&c, 0);
    assert_int_equal(engine_prefix_add(&c, 7, ENGINE_NO_BLOCK, text, 0), 5);
    assert_int_equal(engine_prefix_add(&c, 7, 5, text + SIZE, 0), 3);
    assert_false(c.at[7].cached);
    engine_prefix_free(&c);
}

static void test_no_child_without_its_parent(void **state) {
    (void)state;
    engine_prefix c;
    int32_t table[3];
    engine_prefix_init(&c, 8, SIZE, 42);
    assert_int_equal(engine_prefix_add(&c, 2, 0, text, 0), ENGINE_NO_BLOCK);
    fill(&c, 0);
    engine_prefix_drop(&c, 1);
    engine_prefix_drop(&c, 1); // nothing left to forget
    assert_int_equal(engine_prefix_find(&c, text, 3, 0, table), 2);
    engine_prefix_clear(&c);
    assert_int_equal(engine_prefix_find(&c, text, 3, 0, table), 0);
    assert_int_equal(engine_prefix_add(&c, 1, 3, text + 2 * SIZE, 0), ENGINE_NO_BLOCK);
    engine_prefix_free(&c);
}

// With keys of 0 bits everything collides, and still nothing wrong may be found.
static void test_collisions_share_nothing(void **state) {
    (void)state;
    engine_prefix c;
    int32_t table[3];
    engine_prefix_init(&c, 8, SIZE, 42);
    c.key_mask = 0;
    assert_int_equal(engine_prefix_add(&c, 5, ENGINE_NO_BLOCK, text, 0), 5);
    assert_int_equal(engine_prefix_find(&c, text, 1, 0, table), 1);
    assert_int_equal(engine_prefix_find(&c, text, 1, 9, table), 0);
    assert_int_equal(engine_prefix_find(&c, text + SIZE, 1, 0, table), 0);
    assert_int_equal(engine_prefix_find(&c, text, 3, 0, table), 1);
    assert_int_equal(engine_prefix_add(&c, 3, 5, text + SIZE, 0), ENGINE_NO_BLOCK);
    assert_int_equal(engine_prefix_add(&c, 3, ENGINE_NO_BLOCK, text, 9), ENGINE_NO_BLOCK);
    // Equal ids below another parent: the parent's number tells them apart.
    engine_prefix_drop(&c, 5);
    assert_int_equal(engine_prefix_add(&c, 6, ENGINE_NO_BLOCK, text, 0), 6);
    int32_t twice[2 * SIZE];
    memcpy(twice, text, SIZE * sizeof *text);
    memcpy(twice + SIZE, text, SIZE * sizeof *text);
    assert_int_equal(engine_prefix_find(&c, twice, 2, 0, table), 1);
    engine_prefix_free(&c);
}

// Forgetting and finding among many blocks per bucket, against a plain table of what is cached.
static void test_random_drops(void **state) {
    (void)state;
    enum { N = 64 };
    engine_prefix c;
    engine_prefix_init(&c, N, SIZE, 1);
    c.key_mask = 0xf; // few keys: many blocks are refused for another content
    int32_t ids[N][SIZE];
    unsigned seed = 3;
    for (int step = 0; step < 5000; step++) {
        int32_t block = rand_r(&seed) % N, found;
        if (c.at[block].cached) {
            assert_int_equal(engine_prefix_find(&c, ids[block], 1, 0, &found), 1);
            assert_int_equal(found, block);
            engine_prefix_drop(&c, block);
            assert_int_equal(engine_prefix_find(&c, ids[block], 1, 0, &found), 0);
            continue;
        }
        for (int i = 0; i < SIZE; i++)
            ids[block][i] = rand_r(&seed) % 1000000;
        int32_t stands = engine_prefix_add(&c, block, ENGINE_NO_BLOCK, ids[block], 0);
        assert_true(stands == block || stands == ENGINE_NO_BLOCK);
        assert_int_equal(c.at[block].cached, stands == block);
    }
    engine_prefix_free(&c);
}

// ---------------------------------------------------------------------------------------------
// Why something was not found

static void expect_miss(engine_prefix *c, const int32_t *ids, uint64_t salt, engine_miss want,
                        int want_at) {
    int32_t table[3];
    int n = engine_prefix_find(c, ids, 3, salt, table), at = -1;
    assert_true(n < 3);
    int32_t parent = n > 0 ? table[n - 1] : ENGINE_NO_BLOCK;
    assert_int_equal(engine_prefix_explain(c, ids, salt, parent, n, &at), want);
    assert_int_equal(at, want_at);
}

static void test_what_differs_is_shown(void **state) {
    (void)state;
    engine_prefix c;
    engine_prefix_init(&c, 8, SIZE, 42);
    expect_miss(&c, text, 0, ENGINE_MISS_NONE, 0);
    fill(&c, 0);
    int32_t other[3 * SIZE];
    for (int i = 0; i < 3 * SIZE; i++) {
        memcpy(other, text, sizeof other);
        other[i] = 99;
        // Whoever shares not even the first id has nothing to do with it.
        expect_miss(&c, other, 0, i == 0 ? ENGINE_MISS_NONE : ENGINE_MISS_DIFFERS, i);
    }
    // The sibling that goes along furthest counts.
    memcpy(other, text, sizeof other);
    other[SIZE + 2] = 99;
    assert_int_equal(engine_prefix_add(&c, 2, 5, other + SIZE, 0), 2);
    other[SIZE + 3] = 98;
    expect_miss(&c, other, 0, ENGINE_MISS_DIFFERS, SIZE + 3);
    other[SIZE + 1] = 98;
    expect_miss(&c, other, 0, ENGINE_MISS_DIFFERS, SIZE + 1);
    engine_prefix_free(&c);
}

// Nobody may learn what is asked under another salt.
static void test_misses_do_not_tell_of_other_salts(void **state) {
    (void)state;
    engine_prefix c;
    engine_prefix_init(&c, 1, SIZE, 42); // one list of first blocks for all salts
    assert_int_equal(engine_prefix_add(&c, 0, ENGINE_NO_BLOCK, text, 1), 0);
    int32_t other[3 * SIZE];
    memcpy(other, text, sizeof other);
    other[3] = 99;
    expect_miss(&c, other, 1, ENGINE_MISS_DIFFERS, 3);
    expect_miss(&c, other, 2, ENGINE_MISS_NONE, 0);
    expect_miss(&c, text, 2, ENGINE_MISS_NONE, 0);
    engine_prefix_drop(&c, 0);
    expect_miss(&c, text, 1, ENGINE_MISS_EVICTED, 0);
    expect_miss(&c, text, 2, ENGINE_MISS_NONE, 0);
    engine_prefix_free(&c);
}

static void test_evicted_blocks_are_remembered(void **state) {
    (void)state;
    engine_prefix c;
    engine_prefix_init(&c, 8, SIZE, 42);
    fill(&c, 0);
    int32_t other[3 * SIZE];
    memcpy(other, text, sizeof other);
    other[2 * SIZE + 1] = 99;
    assert_int_equal(engine_prefix_add(&c, 2, 3, other + 2 * SIZE, 0), 2);
    engine_prefix_drop(&c, 1);
    expect_miss(&c, text, 0, ENGINE_MISS_EVICTED, 2 * SIZE); // not DIFFERS at 2 * SIZE + 1
    engine_prefix_drop(&c, 2);
    engine_prefix_drop(&c, 3);
    expect_miss(&c, text, 0, ENGINE_MISS_EVICTED, SIZE);
    engine_prefix_drop(&c, 5);
    expect_miss(&c, text, 0, ENGINE_MISS_EVICTED, 0);
    // The key does not depend on the blocks' numbers.
    assert_int_equal(engine_prefix_add(&c, 7, ENGINE_NO_BLOCK, text, 0), 7);
    expect_miss(&c, text, 0, ENGINE_MISS_EVICTED, SIZE);
    engine_prefix_clear(&c);
    expect_miss(&c, text, 0, ENGINE_MISS_NONE, 0);
    engine_prefix_free(&c);
}

// Only the blocks used last are looked at.
static void test_the_search_is_bounded(void **state) {
    (void)state;
    enum { N = 100, LOOKED_AT = 64 };
    engine_prefix c;
    engine_prefix_init(&c, N, SIZE, 42);
    int32_t ids[3 * SIZE] = {7, 7, 7, 7};
    for (int32_t b = 0; b < N; b++) { // 7 7 7 B
        ids[3] = 1000 + b;
        assert_int_equal(engine_prefix_add(&c, b, ENGINE_NO_BLOCK, ids, 0), b);
    }
    int32_t near[3 * SIZE] = {7, 7, 8};
    expect_miss(&c, near, 0, ENGINE_MISS_DIFFERS, 2);
    // Far ones take all the places, until a near one is used.
    for (int32_t b = N - LOOKED_AT; b < N; b++) {
        int32_t far[SIZE] = {7, 2000 + b};
        engine_prefix_drop(&c, b);
        assert_int_equal(engine_prefix_add(&c, b, ENGINE_NO_BLOCK, far, 0), b);
    }
    expect_miss(&c, near, 0, ENGINE_MISS_DIFFERS, 1);
    engine_prefix_use(&c, &(int32_t){0}, 1);
    expect_miss(&c, near, 0, ENGINE_MISS_DIFFERS, 2);
    engine_prefix_free(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_least_recently_used_goes_first),
        cmocka_unit_test(test_references_keep_and_revive),
        cmocka_unit_test(test_random_against_counters),
        cmocka_unit_test(test_finds_the_longest_chain),
        cmocka_unit_test(test_salts_never_meet),
        cmocka_unit_test(test_equal_content_has_one_block),
        cmocka_unit_test(test_no_child_without_its_parent),
        cmocka_unit_test(test_collisions_share_nothing),
        cmocka_unit_test(test_random_drops),
        cmocka_unit_test(test_what_differs_is_shown),
        cmocka_unit_test(test_misses_do_not_tell_of_other_salts),
        cmocka_unit_test(test_evicted_blocks_are_remembered),
        cmocka_unit_test(test_the_search_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
