// Vectors of 8 floats.
#include <immintrin.h>

namespace {

constexpr int LANES = 8;
// A block of sums that fits 16 registers beside its operands: 6 rows of 2 vectors.
constexpr int BLOCK_ROWS = 6;
constexpr int BLOCK_COLUMNS = 2;
// Vectors of queries that are scored at once: two blocks of scores are in registers.
constexpr int SCORE_COLUMNS = 2;
constexpr int GROUP = 1;

using Vector = __m256;
using Element = float;

INLINE Vector zero() { return _mm256_setzero_ps(); }
INLINE Vector splat(float value) { return _mm256_set1_ps(value); }
INLINE Vector load(const float* from) { return _mm256_load_ps(from); }
INLINE Vector keep(Vector v) { return v; }
INLINE void store(float* to, Vector v) { _mm256_store_ps(to, v); }
INLINE Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
INLINE Vector subtract(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
INLINE Vector multiply(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
INLINE Vector multiply_add(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
INLINE Vector divide(Vector a, Vector b) { return _mm256_div_ps(a, b); }
INLINE Vector square_root(Vector a) { return _mm256_sqrt_ps(a); }
INLINE Vector larger(Vector a, Vector b) { return _mm256_max_ps(a, b); }
INLINE Vector smaller(Vector a, Vector b) { return _mm256_min_ps(a, b); }
// v, its magnitude at most `limit`; in this order NaN stays NaN.
INLINE Vector limit_magnitude(Vector v, float limit) {
    return smaller(splat(limit), larger(splat(-limit), v));
}
// a where x is below 0 (its sign bit is set), else b.
INLINE Vector where_negative(Vector x, Vector a, Vector b) { return _mm256_blendv_ps(b, a, x); }
INLINE bool all_between(Vector v, float least, float most) {
    const Vector inside =
        _mm256_and_ps(_mm256_cmp_ps(v, splat(least), _CMP_GE_OQ), _mm256_cmp_ps(v, splat(most), _CMP_LE_OQ));
    return _mm256_movemask_ps(inside) == 0xff;
}

// significand * 2^n, n being the low bits of `count`.
INLINE Vector scale_by_power(Vector significand, Vector count) {
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(significand),
                                                _mm256_slli_epi32(_mm256_castps_si256(count), 23)));
}

// Add `penalty` in the lanes whose region is another one than `region`.
INLINE Vector add_where_other(Vector v, const int32_t* regions, int32_t region, Vector penalty) {
    const __m256i same =
        _mm256_cmpeq_epi32(_mm256_load_si256((const __m256i*)regions), _mm256_set1_epi32(region));
    return add(v, _mm256_andnot_ps(_mm256_castsi256_ps(same), penalty));
}

INLINE __m256i first_lanes(int count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
INLINE Vector load_any(const float* from) { return _mm256_loadu_ps(from); }
INLINE void store_any(float* to, Vector v) { _mm256_storeu_ps(to, v); }
INLINE Vector load_first(const float* from, int count) {
    return _mm256_maskload_ps(from, first_lanes(count));
}
INLINE void store_first(float* to, Vector v, int count) { _mm256_maskstore_ps(to, first_lanes(count), v); }

INLINE void transpose(Vector (&rows)[LANES]) {
    Vector quads[LANES];
    UNROLL_FOR (int i = 0; i < 8; i += 4) {
        const Vector low0 = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
        const Vector high0 = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
        const Vector low1 = _mm256_unpacklo_ps(rows[i + 2], rows[i + 3]);
        const Vector high1 = _mm256_unpackhi_ps(rows[i + 2], rows[i + 3]);
        quads[i] = _mm256_shuffle_ps(low0, low1, 0x44);
        quads[i + 1] = _mm256_shuffle_ps(low0, low1, 0xee);
        quads[i + 2] = _mm256_shuffle_ps(high0, high1, 0x44);
        quads[i + 3] = _mm256_shuffle_ps(high0, high1, 0xee);
    }
    UNROLL_FOR (int i = 0; i < 4; i++) {
        rows[i] = _mm256_permute2f128_ps(quads[i], quads[i + 4], 0x20);
        rows[i + 4] = _mm256_permute2f128_ps(quads[i], quads[i + 4], 0x31);
    }
}

INLINE Vector dot(Vector sum, Vector a, Vector b) { return _mm256_fmadd_ps(a, b, sum); }
INLINE void store_elements(Element* to, Vector v) { store(to, v); }

}  // namespace
