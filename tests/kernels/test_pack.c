// Repacking: every element is looked up in the panel where kernels.h says it lies, and compared
// with the checkpoint's own layout (reference: eight INT4 columns per 32-bit word, lowest nibble
// first).
#include "kernels/check.h"

// Sources at odd addresses: tensors of a mapped file are aligned to their element at most, and
// the file may start them anywhere.
static uint16_t *odd_u16(size_t n, void **memory) {
    *memory = check_alloc(n * 2 + 2);
    uint16_t *values = (uint16_t *)((char *)*memory + 2);
    for (size_t i = 0; i < n; i++)
        values[i] = (uint16_t)check_bits();
    return values;
}

static void test_bf16(void **state) {
    (void)state;
    for (int round = 0; round < 200; round++) {
        int rows = 1 + check_below(50), cols = 1 + check_below(70);
        void *memory;
        uint16_t *w = odd_u16((size_t)rows * (size_t)cols, &memory);
        size_t elems = cpu_bf16_panel_elems(cols);
        uint16_t *panel = check_alloc_panels(elems * 2);
        for (int row0 = 0; row0 < rows; row0 += CPU_LANES) {
            memset(panel, 0xab, elems * 2);
            cpu_pack_bf16(panel, w, rows, cols, row0);
            for (int k = 0; k < cols + cols % 2; k++)
                for (int r = 0; r < CPU_LANES; r++) {
                    uint16_t got = panel[(k / 2 * 16 + r) * 2 + (k & 1)];
                    int inside = row0 + r < rows && k < cols;
                    assert_int_equal(got, inside ? w[(row0 + r) * cols + k] : 0);
                }
        }
        free(panel);
        free(memory);
    }
}

static void test_bf16_transposed(void **state) {
    (void)state;
    for (int round = 0; round < 200; round++) {
        int rows = 1 + check_below(50), cols = 1 + check_below(50), ldw = cols + check_below(9);
        void *memory;
        // The last row ends with its last column: nothing beyond may be read.
        uint16_t *w = odd_u16((size_t)(rows - 1) * (size_t)ldw + (size_t)cols, &memory);
        size_t elems = cpu_bf16_panel_elems(rows);
        uint16_t *panel = check_alloc_panels(elems * 2);
        for (int col0 = 0; col0 < cols; col0 += CPU_LANES) {
            memset(panel, 0xab, elems * 2);
            cpu_pack_bf16_transposed(panel, w, (size_t)ldw, rows, cols, col0);
            for (int k = 0; k < rows + rows % 2; k++)
                for (int c = 0; c < CPU_LANES; c++) {
                    uint16_t got = panel[(k / 2 * 16 + c) * 2 + (k & 1)];
                    int inside = col0 + c < cols && k < rows;
                    assert_int_equal(got, inside ? w[k * ldw + col0 + c] : 0);
                }
        }
        free(panel);
        free(memory);
    }
}

static void int4_check(const uint32_t *packed, const uint16_t *scale, int rows, int cols,
                       int row0) {
    uint8_t *codes = check_alloc_panels(cpu_int4_panel_bytes(cols));
    uint16_t *scales = check_alloc_panels(cpu_int4_panel_scales(cols) * 2);
    memset(codes, 0xab, cpu_int4_panel_bytes(cols));
    cpu_pack_int4(codes, scales, packed, scale, rows, cols, row0);
    for (int r = 0; r < CPU_LANES; r++) {
        int inside = row0 + r < rows;
        for (int c = 0; c < cols; c++) {
            uint8_t byte = codes[c / 32 * 256 + c % 32 / 8 * 64 + r * 4 + c % 4];
            unsigned got = c % 8 < 4 ? byte & 15u : byte >> 4;
            unsigned wanted =
                inside ? packed[(row0 + r) * (cols / 8) + c / 8] >> (c % 8 * 4) & 15u : 0;
            assert_int_equal(got, wanted);
        }
        for (int g = 0; g < cols / 32; g++)
            assert_int_equal(scales[g * 16 + r], inside ? scale[(row0 + r) * (cols / 32) + g] : 0);
    }
    free(codes);
    free(scales);
}

static void test_int4(void **state) {
    (void)state;
    for (int round = 0; round < 100; round++) {
        int rows = 1 + check_below(40), cols = CPU_GROUP * (1 + check_below(9));
        size_t words = (size_t)rows * (size_t)cols / 8;
        uint32_t *packed = check_alloc(words * sizeof *packed);
        for (size_t i = 0; i < words; i++)
            packed[i] = (uint32_t)check_bits();
        void *memory;
        uint16_t *scale = odd_u16((size_t)rows * (size_t)(cols / 32), &memory);
        for (int row0 = 0; row0 < rows; row0 += CPU_LANES)
            int4_check(packed, scale, rows, cols, row0);
        free(packed);
        free(memory);
    }
}

// The whole way: a stored matrix times a vector through pack and kernel equals the formula on the
// stored form. Integers small enough make float32 exact, so equality is asked for.
static void test_pack_then_multiply(void **state) {
    (void)state;
    enum { ROWS = 37, COLS = 96, PANELS = 3 };
    uint32_t packed[ROWS * COLS / 8];
    uint16_t scale[ROWS * COLS / 32];
    float x[COLS];
    for (size_t i = 0; i < sizeof packed / sizeof *packed; i++)
        packed[i] = (uint32_t)check_bits();
    for (size_t i = 0; i < sizeof scale / sizeof *scale; i++)
        scale[i] = check_below(2) ? 0x3f80 : 0xc000; // 1 and -2
    for (int i = 0; i < COLS; i++)
        x[i] = (float)(check_below(201) - 100);
    _Alignas(64) uint8_t codes[PANELS * COLS / 2 * 16];
    _Alignas(64) uint16_t scales[PANELS * COLS / 32 * 16];
    for (int p = 0; p < PANELS; p++)
        cpu_pack_int4(codes + (size_t)p * cpu_int4_panel_bytes(COLS),
                      scales + (size_t)p * cpu_int4_panel_scales(COLS), packed, scale, ROWS, COLS,
                      p * CPU_LANES);
    for (int i = 0; check_level(i); i++) {
        float y[PANELS * CPU_LANES];
        check_level(i)->gemm_int4_f32(y, PANELS * CPU_LANES, x, COLS, 1, codes,
                                      cpu_int4_panel_bytes(COLS), scales,
                                      cpu_int4_panel_scales(COLS), PANELS, 0, COLS, 0);
        for (int r = 0; r < PANELS * CPU_LANES; r++) {
            double sum = 0;
            for (int c = 0; c < COLS && r < ROWS; c++)
                sum += ((int)(packed[r * (COLS / 8) + c / 8] >> (c % 8 * 4) & 15u) - 8) *
                       check_bf16_value(scale[r * (COLS / 32) + c / 32]) * (double)x[c];
            assert_true((double)y[r] == sum);
        }
    }
}

int main(int argc, char **argv) {
    check_start(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_bf16_transposed),
        cmocka_unit_test(test_int4),
        cmocka_unit_test(test_pack_then_multiply),
    };
    return cmocka_run_group_tests_name("packing", tests, NULL, NULL);
}
