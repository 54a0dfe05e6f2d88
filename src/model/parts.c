// How a sum over a sharded dimension is cut, the same for every number of ranks.
#include "model/model.h"

void model_part_bounds(int cols, int unit, int bounds[MODEL_PARTS + 1]) {
    int units = cols / unit;
    bounds[0] = 0;
    for (int p = 0; p < MODEL_PARTS; p++)
        bounds[p + 1] =
            bounds[p] + (units / MODEL_PARTS + (p < units % MODEL_PARTS ? 1 : 0)) * unit;
}
