#include "backend/cpu/cpu.h"

typedef struct linear_job {
    cpu_backend *b;
    float *y;
    size_t ldy;
    const float *x;
    size_t ldx;
    int m, m_tile, tile_panels, n_tiles;
    const cpu_matrix *w;
    const int *bounds; // parts only
} linear_job;

// Work items are tiles of panels; when those are too few to keep the workers busy and there are
// many rows, the rows are cut too. Neither changes any result.
static void choose_tiles(linear_job *job, int workers, int max_m_tile) {
    job->tile_panels = CPU_TILE_PANELS;
    while (job->tile_panels > 1 && base_ceil_div(job->w->n_panels, job->tile_panels) < 4 * workers)
        job->tile_panels /= 2;
    job->n_tiles = base_ceil_div(job->w->n_panels, job->tile_panels);
    job->m_tile = base_min_int(job->m, max_m_tile);
    while (job->m_tile > 64 && job->n_tiles * base_ceil_div(job->m, job->m_tile) < 4 * workers)
        job->m_tile = base_ceil_div(job->m_tile, 2);
}

static void linear_item(void *arg, int item, int worker) {
    (void)worker;
    const linear_job *job = arg;
    int panel = item % job->n_tiles * job->tile_panels;
    int row = item / job->n_tiles * job->m_tile;
    int n_panels = base_min_int(job->tile_panels, job->w->n_panels - panel);
    cpu_tile_bf16(job->b, job->y + (size_t)row * job->ldy + (size_t)panel * CPU_LANES, job->ldy,
                  job->x + (size_t)row * job->ldx, job->ldx,
                  base_min_int(job->m_tile, job->m - row), job->w, panel, n_panels, 0,
                  job->w->cols);
}

void cpu_linear(cpu_backend *b, float *y, size_t ldy, const float *x, size_t ldx, int m,
                const cpu_matrix *w) {
    linear_job job = {.b = b, .y = y, .ldy = ldy, .x = x, .ldx = ldx, .m = m, .w = w};
    choose_tiles(&job, b->n_workers, 256); // rows of x that stay in the L3 cache
    base_pool_run(b->pool, job.n_tiles * base_ceil_div(m, job.m_tile), linear_item, &job);
}

void cpu_parts_tree_add(const cpu_kernels *k, float *h, size_t ldh, int m, int col, int cols,
                        float *parts) {
    size_t part = (size_t)m * CPU_TILE_COLS;
    for (int step = 1; step < MODEL_PARTS; step *= 2)
        for (int p = 0; p < MODEL_PARTS; p += 2 * step)
            k->add(parts + (size_t)p * part, parts + (size_t)(p + step) * part, (int)part);
    for (int i = 0; i < m; i++)
        k->add(h + (size_t)i * ldh + col, parts + (size_t)i * CPU_TILE_COLS, cols);
}

static void parts_item(void *arg, int item, int worker) {
    const linear_job *job = arg;
    const cpu_backend *b = job->b;
    int panel = item % job->n_tiles * job->tile_panels;
    int row = item / job->n_tiles * job->m_tile;
    int m = base_min_int(job->m_tile, job->m - row);
    int n_panels = base_min_int(job->tile_panels, job->w->n_panels - panel);
    float *parts = b->workers[worker].part_sums;
    for (int p = 0; p < MODEL_PARTS; p++)
        cpu_tile_bf16(b, parts + (size_t)p * m * CPU_TILE_COLS, CPU_TILE_COLS,
                      job->x + (size_t)row * job->ldx, job->ldx, m, job->w, panel, n_panels,
                      job->bounds[p], job->bounds[p + 1]);
    int col = panel * CPU_LANES;
    cpu_parts_tree_add(b->k, job->y + (size_t)row * job->ldy, job->ldy, m, col,
                       base_min_int(n_panels * CPU_LANES, job->w->rows - col), parts);
}

void cpu_linear_parts_add(cpu_backend *b, float *h, const float *x, size_t ldx, int m,
                          const cpu_matrix *w, int unit) {
    int bounds[MODEL_PARTS + 1];
    model_part_bounds(w->cols, unit, bounds);
    linear_job job = {.b = b,
                      .y = h,
                      .ldy = (size_t)w->rows,
                      .x = x,
                      .ldx = ldx,
                      .m = m,
                      .w = w,
                      .bounds = bounds};
    choose_tiles(&job, b->n_workers, CPU_PART_ROWS);
    base_pool_run(b->pool, job.n_tiles * base_ceil_div(m, job.m_tile), parts_item, &job);
}
