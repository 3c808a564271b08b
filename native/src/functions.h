// The functions of a transformer layer, each as exact as its products are.

namespace {

// Coefficients of 2^f on [-1/2, 1/2], minimax in relative error: 7.5e-8 for float32 products, 7.5e-5 beside the
// 4e-3 that rounding to bfloat16 costs.
#if SWINIR_BF16
constexpr float EXP2[] = {0.9999280718f, 0.6932609886f, 0.2426111518f, 0.05517166615f};
#else
constexpr float EXP2[] = {1.000000072f,   0.6931469671f,   0.2402211972f,
                          0.05550713279f, 0.009675541803f, 0.001327647167f};
#endif
// A float holds 2 to this, and to less than this, as a normal number.
constexpr float LARGEST_POWER = 126.0f;
// 1.5 * 2^23: a float so large that adding to it rounds to whole numbers, which its lowest bits then are.
constexpr float ROUNDER = 12582912.0f;

template <int N>
INLINE Vector polynomial(const float (&coefficients)[N], Vector x) {
    Vector sum = splat(coefficients[N - 1]);
    UNROLL_FOR (int i = N - 2; i >= 0; i--) sum = multiply_add(sum, x, splat(coefficients[i]));
    return sum;
}

// 2^x, x limited to what a float can hold.
INLINE Vector power_of_two(Vector x) {
    x = limit_magnitude(x, LARGEST_POWER);
    const Vector count = add(x, splat(ROUNDER));
    const Vector fraction = subtract(x, subtract(count, splat(ROUNDER)));
    return scale_by_power(polynomial(EXP2, fraction), count);
}

#if SWINIR_BF16

// Phi(x) - 1/2 = x P(x^2) on [-GELU_EDGE, GELU_EDGE], fitted so that x Phi(x) errs by at most 7.5e-5 and that the edge
// is met exactly: beyond it Phi is 0 or 1.
constexpr float GELU_EDGE = 4.2f;
constexpr float GELU[] = {0.398465866f,    -0.0655281915f,   0.00929822431f,  -0.000950656364f,
                          6.68905562e-05f, -3.03792214e-06f, 7.94130631e-08f, -9.01748508e-10f};

// Phi(x) + x phi(x) - 1/2 = x P(x^2) on the same interval, to 6e-5 as computed; beyond it stays at the edge's 1/2 + 1.9e-4.
constexpr float GELU_SLOPE[] = {0.797770001f,   -0.265444654f,    0.0591501961f,   -0.00906912242f,
                                0.00100418942f, -8.05493567e-05f, 4.54324091e-06f, -1.69578135e-07f,
                                3.7347598e-09f, -3.65561047e-11f};

// x Phi(x), Phi being the normal distribution (Hendrycks and Gimpel 2016).
INLINE Vector gelu(Vector x) {
    const Vector limited = limit_magnitude(x, GELU_EDGE);
    const Vector p = polynomial(GELU, multiply(limited, limited));
    return multiply(x, multiply_add(limited, p, splat(0.5f)));
}

// Replace x by x Phi(x) and return the derivative, Phi(x) + x phi(x).
INLINE Vector gelu_and_slope(Vector& x) {
    const Vector limited = limit_magnitude(x, GELU_EDGE);
    const Vector square = multiply(limited, limited);
    const Vector slope = multiply_add(limited, polynomial(GELU_SLOPE, square), splat(0.5f));
    x = multiply(x, multiply_add(limited, polynomial(GELU, square), splat(0.5f)));
    return slope;
}

#else

// 1 - erf(z) = t (A1 + t (A2 + ...)) exp(-z^2), t = 1 / (1 + p z), z >= 0, to 1.5e-7 (Abramowitz and Stegun 1964,
// 7.1.26); here for z = x / sqrt(2), halved.
constexpr float TAIL_P = 0.3275911f * 0.70710678f;
constexpr float TAIL[] = {0.5f * 0.254829592f, 0.5f * -0.284496736f, 0.5f * 1.421413741f,
                          0.5f * -1.453152027f, 0.5f * 1.061405429f};
// Half of log2(e): the exponent of the normal density in powers of two.
constexpr float HALF_LOG2_E = 0.72134752f;
// The normal density at 0: 1 / sqrt(2 pi).
constexpr float DENSITY_AT_0 = 0.39894228f;

// x Phi(x), Phi being the normal distribution (Hendrycks and Gimpel 2016): max(x, 0) - |x| (1 - Phi(|x|)).
INLINE Vector gelu(Vector x) {
    const Vector magnitude = larger(subtract(zero(), x), x);
    const Vector t = divide(splat(1.0f), multiply_add(magnitude, splat(TAIL_P), splat(1.0f)));
    const Vector density = power_of_two(multiply(multiply(x, x), splat(-HALF_LOG2_E)));
    const Vector tail = multiply(multiply(polynomial(TAIL, t), t), density);
    return subtract(larger(zero(), x), multiply(magnitude, tail));
}

// Replace x by x Phi(x) and return the derivative, Phi(x) + x phi(x).
INLINE Vector gelu_and_slope(Vector& x) {
    const Vector magnitude = larger(subtract(zero(), x), x);
    const Vector t = divide(splat(1.0f), multiply_add(magnitude, splat(TAIL_P), splat(1.0f)));
    const Vector density = power_of_two(multiply(multiply(x, x), splat(-HALF_LOG2_E)));
    const Vector tail = multiply(multiply(polynomial(TAIL, t), t), density);
    const Vector share = where_negative(x, tail, subtract(splat(1.0f), tail));
    const Vector slope = multiply_add(multiply(x, density), splat(DENSITY_AT_0), share);
    x = subtract(larger(zero(), x), multiply(magnitude, tail));
    return slope;
}

#endif

// LayerNorm's epsilon of the published network.
constexpr float NORM_EPSILON = 1e-5f;

// (x - mean) / deviation over the channels of each token, as an operand; scale and shift are in the weights behind it.
// x is [channels, tokens]. With `inverse_deviations` [tokens], those are kept, and the values themselves in `values`.
INLINE void normalize(const float* x, int channels, int tokens, float* operand,
                      float* inverse_deviations = nullptr, float* values = nullptr) {
    const Vector share = splat(1.0f / (float)channels);
    for_columns(tokens / LANES, [&](int column, auto width) ALWAYS_INLINE {
        constexpr int COLUMNS = decltype(width)::value;
        const float* first = x + column * LANES;
        const auto at = [&](int channel, int c) {
            return load(first + (ptrdiff_t)channel * tokens + c * LANES);
        };
        Vector mean[COLUMNS], scale[COLUMNS];
        UNROLL_FOR (int c = 0; c < COLUMNS; c++) mean[c] = scale[c] = zero();
        for (int channel = 0; channel < channels; channel++)
            UNROLL_FOR (int c = 0; c < COLUMNS; c++) mean[c] = add(mean[c], at(channel, c));
        UNROLL_FOR (int c = 0; c < COLUMNS; c++) mean[c] = multiply(mean[c], share);
        for (int channel = 0; channel < channels; channel++)
            UNROLL_FOR (int c = 0; c < COLUMNS; c++) {
                const Vector centred = subtract(at(channel, c), mean[c]);
                scale[c] = multiply_add(centred, centred, scale[c]);
            }
        UNROLL_FOR (int c = 0; c < COLUMNS; c++) {
            const Vector variance = multiply_add(scale[c], share, splat(NORM_EPSILON));
            scale[c] = divide(splat(1.0f), square_root(variance));
            if (inverse_deviations != nullptr) store(inverse_deviations + (column + c) * LANES, scale[c]);
        }
        for (int channel = 0; channel < channels; channel += 2)
            UNROLL_FOR (int c = 0; c < COLUMNS; c++) {
                const Vector even = multiply(subtract(at(channel, c), mean[c]), scale[c]);
                const Vector odd = channel + 1 < channels
                                       ? multiply(subtract(at(channel + 1, c), mean[c]), scale[c])
                                       : zero();
                store_rows(operand, tokens, channel, column + c, even, odd);
                if (GROUP == 2 && inverse_deviations != nullptr) {
                    store(values + (ptrdiff_t)channel * tokens + (column + c) * LANES, even);
                    store(values + (ptrdiff_t)(channel + 1) * tokens + (column + c) * LANES, odd);
                }
            }
    });
}

}  // namespace
