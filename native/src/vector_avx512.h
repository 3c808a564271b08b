// Vectors of 16 floats; with SWINIR_BF16, operands of products are pairs of bfloat16.
#include <immintrin.h>

namespace {

constexpr int LANES = 16;
// A block of sums that fits 32 registers beside its operands: 6 rows of 4 vectors.
constexpr int BLOCK_ROWS = 6;
constexpr int BLOCK_COLUMNS = 4;
// Vectors of queries that are scored at once: two blocks of scores are in registers.
constexpr int SCORE_COLUMNS = 2;

using Vector = __m512;

INLINE Vector zero() { return _mm512_setzero_ps(); }
INLINE Vector splat(float value) { return _mm512_set1_ps(value); }
INLINE Vector load(const float* from) { return _mm512_load_ps(from); }
// Keeps GCC from loading the same vector again and again instead of holding it in a register.
INLINE Vector keep(Vector v) {
    __asm__("" : "+v"(v));
    return v;
}
INLINE void store(float* to, Vector v) { _mm512_store_ps(to, v); }
INLINE Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
INLINE Vector subtract(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
INLINE Vector multiply(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
INLINE Vector multiply_add(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
INLINE Vector divide(Vector a, Vector b) { return _mm512_div_ps(a, b); }
INLINE Vector square_root(Vector a) { return _mm512_sqrt_ps(a); }
INLINE Vector larger(Vector a, Vector b) { return _mm512_max_ps(a, b); }
INLINE Vector smaller(Vector a, Vector b) { return _mm512_min_ps(a, b); }
// v, its magnitude at most `limit`; in this order NaN stays NaN, which vrangeps, one instruction, would hide.
INLINE Vector limit_magnitude(Vector v, float limit) {
    return smaller(splat(limit), larger(splat(-limit), v));
}
// a where x is below 0 (its sign bit is set), else b.
INLINE Vector where_negative(Vector x, Vector a, Vector b) {
    return _mm512_mask_blend_ps(_mm512_movepi32_mask(_mm512_castps_si512(x)), b, a);
}
INLINE bool all_between(Vector v, float least, float most) {
    return _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(v, splat(least), _CMP_GE_OQ), v, splat(most),
                                   _CMP_LE_OQ) == 0xffff;
}

// significand * 2^n, n being the low bits of `count`.
INLINE Vector scale_by_power(Vector significand, Vector count) {
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(significand),
                                                _mm512_slli_epi32(_mm512_castps_si512(count), 23)));
}

// Add `penalty` in the lanes whose region is another one than `region`.
INLINE Vector add_where_other(Vector v, const int32_t* regions, int32_t region, Vector penalty) {
    const __mmask16 other = _mm512_cmpneq_epi32_mask(_mm512_load_si512(regions), _mm512_set1_epi32(region));
    return _mm512_mask_add_ps(v, other, v, penalty);
}

INLINE __mmask16 first_lanes(int count) { return (__mmask16)((1u << count) - 1u); }
INLINE Vector load_any(const float* from) { return _mm512_loadu_ps(from); }
INLINE void store_any(float* to, Vector v) { _mm512_storeu_ps(to, v); }
INLINE Vector load_first(const float* from, int count) {
    return _mm512_maskz_loadu_ps(first_lanes(count), from);
}
INLINE void store_first(float* to, Vector v, int count) { _mm512_mask_storeu_ps(to, first_lanes(count), v); }

INLINE void transpose(Vector (&rows)[LANES]) {
    __m512d pairs[LANES];
    UNROLL_FOR (int i = 0; i < 16; i += 4) {
        const Vector low0 = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
        const Vector high0 = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
        const Vector low1 = _mm512_unpacklo_ps(rows[i + 2], rows[i + 3]);
        const Vector high1 = _mm512_unpackhi_ps(rows[i + 2], rows[i + 3]);
        pairs[i] = _mm512_unpacklo_pd(_mm512_castps_pd(low0), _mm512_castps_pd(low1));
        pairs[i + 1] = _mm512_unpackhi_pd(_mm512_castps_pd(low0), _mm512_castps_pd(low1));
        pairs[i + 2] = _mm512_unpacklo_pd(_mm512_castps_pd(high0), _mm512_castps_pd(high1));
        pairs[i + 3] = _mm512_unpackhi_pd(_mm512_castps_pd(high0), _mm512_castps_pd(high1));
    }
    UNROLL_FOR (int i = 0; i < 4; i++) {
        // Quarters 0, 2 and 1, 3 of four rows each.
        const __m512d even_top = _mm512_shuffle_f64x2(pairs[i], pairs[i + 4], 0x88);
        const __m512d odd_top = _mm512_shuffle_f64x2(pairs[i], pairs[i + 4], 0xdd);
        const __m512d even_bottom = _mm512_shuffle_f64x2(pairs[i + 8], pairs[i + 12], 0x88);
        const __m512d odd_bottom = _mm512_shuffle_f64x2(pairs[i + 8], pairs[i + 12], 0xdd);
        rows[i] = _mm512_castpd_ps(_mm512_shuffle_f64x2(even_top, even_bottom, 0x88));
        rows[i + 8] = _mm512_castpd_ps(_mm512_shuffle_f64x2(even_top, even_bottom, 0xdd));
        rows[i + 4] = _mm512_castpd_ps(_mm512_shuffle_f64x2(odd_top, odd_bottom, 0x88));
        rows[i + 12] = _mm512_castpd_ps(_mm512_shuffle_f64x2(odd_top, odd_bottom, 0xdd));
    }
}

#if SWINIR_BF16

constexpr int GROUP = 2;
using Element = uint16_t;

INLINE Vector dot(Vector sum, Vector a, Vector b) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }

// Lane by lane the pair (even, odd), the even one in the low half.
INLINE Vector pack_pair(Vector even, Vector odd) {
    const __m512i interleave = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8,
                                                23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const __m512i halves = (__m512i)_mm512_cvtne2ps_pbh(odd, even);
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(interleave, halves));
}

INLINE void store_elements(Element* to, Vector v) {
    _mm256_store_si256((__m256i*)to, (__m256i)_mm512_cvtneps_pbh(v));
}

// What pack_pair packed, as floats.
INLINE Vector even_of(Vector pairs) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(pairs), 16));
}
INLINE Vector odd_of(Vector pairs) {
    return _mm512_castsi512_ps(
        _mm512_and_si512(_mm512_castps_si512(pairs), _mm512_set1_epi32((int32_t)0xffff0000)));
}

// Pairs (a, b) of the elements of two vectors, each of them taken as 2 LANES elements in a row.
INLINE void interleave(Vector a, Vector b, Vector& first, Vector& last) {
    const __m512i in_first = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8,
                                              39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i in_last = _mm512_add_epi16(in_first, _mm512_set1_epi16(16));
    const __m512i low = _mm512_castps_si512(a), high = _mm512_castps_si512(b);
    first = _mm512_castsi512_ps(_mm512_permutex2var_epi16(low, in_first, high));
    last = _mm512_castsi512_ps(_mm512_permutex2var_epi16(low, in_last, high));
}

#else

constexpr int GROUP = 1;
using Element = float;

INLINE Vector dot(Vector sum, Vector a, Vector b) { return _mm512_fmadd_ps(a, b, sum); }
INLINE void store_elements(Element* to, Vector v) { store(to, v); }

#endif

}  // namespace
