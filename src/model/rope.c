// Rotary frequencies and the softmax scale, in double (kimi.md 3.3, 3.4).
#include "model/model.h"

#include <math.h>

#define PI 3.14159265358979323846

// The dimension whose wavelength makes `rotations` turns over the original context.
static double yarn_dimension(const model_rope *r, int dims, double rotations) {
    return dims * log(r->original_max_position / (2 * PI * rotations)) / (2 * log(r->theta));
}

static double yarn_mscale(double factor, double m) {
    return factor <= 1 ? 1 : 0.1 * m * log(factor) + 1;
}

void model_rope_init(const model_config *config, double *inv_freq, double *cos_sin_scale,
                     double *softmax_scale) {
    const model_rope *r = &config->rope;
    int dims = config->qk_rope_head_dim;
    *cos_sin_scale = 1;
    *softmax_scale = 1 / sqrt(config->qk_nope_head_dim + dims);
    for (int i = 0; i < dims / 2; i++)
        inv_freq[i] = pow(r->theta, -2.0 * i / dims);
    if (!r->yarn)
        return;
    // Fast dimensions keep their frequency, slow ones are divided by the factor, a ramp between.
    double low = fmax(floor(yarn_dimension(r, dims, r->beta_fast)), 0);
    double high = fmin(ceil(yarn_dimension(r, dims, r->beta_slow)), dims - 1);
    if (low == high)
        high += 0.001;
    for (int i = 0; i < dims / 2; i++) {
        double ramp = fmin(fmax((i - low) / (high - low), 0), 1);
        inv_freq[i] = inv_freq[i] / r->factor * ramp + inv_freq[i] * (1 - ramp);
    }
    double all = yarn_mscale(r->factor, r->mscale_all_dim);
    *cos_sin_scale = yarn_mscale(r->factor, r->mscale) / all;
    *softmax_scale *= all * all;
}
