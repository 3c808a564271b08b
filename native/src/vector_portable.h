// Vectors of 4 floats in the compiler's own words: SSE, NEON, or whatever the target has.

namespace {

constexpr int LANES = 4;
// A block of sums that fits the registers beside its operands: 6 rows of 2 vectors in 16, of 4 in 32.
constexpr int BLOCK_ROWS = 6;
#if defined(__aarch64__)
constexpr int BLOCK_COLUMNS = 4;
#else
constexpr int BLOCK_COLUMNS = 2;
#endif
// Vectors of queries that are scored at once: two blocks of scores are in registers.
constexpr int SCORE_COLUMNS = 2;

typedef float Vector __attribute__((vector_size(16)));
typedef int32_t Integers __attribute__((vector_size(16)));

INLINE Vector zero() { return Vector{0, 0, 0, 0}; }
INLINE Vector splat(float value) { return Vector{value, value, value, value}; }
INLINE Vector load(const float* from) { return *(const Vector*)from; }
INLINE Vector keep(Vector v) { return v; }
INLINE void store(float* to, Vector v) { *(Vector*)to = v; }
INLINE Vector add(Vector a, Vector b) { return a + b; }
INLINE Vector subtract(Vector a, Vector b) { return a - b; }
INLINE Vector multiply(Vector a, Vector b) { return a * b; }
INLINE Vector multiply_add(Vector a, Vector b, Vector c) { return a * b + c; }
INLINE Vector divide(Vector a, Vector b) { return a / b; }
INLINE Vector square_root(Vector a) {
    return Vector{__builtin_sqrtf(a[0]), __builtin_sqrtf(a[1]), __builtin_sqrtf(a[2]), __builtin_sqrtf(a[3])};
}
INLINE Vector choose(Integers condition, Vector a, Vector b) {
    return (Vector)((condition & (Integers)a) | (~condition & (Integers)b));
}
// a where x is below 0 (its sign bit is set), else b.
INLINE Vector where_negative(Vector x, Vector a, Vector b) { return choose((Integers)x < 0, a, b); }
INLINE Vector larger(Vector a, Vector b) { return choose(a > b, a, b); }
INLINE Vector smaller(Vector a, Vector b) { return choose(a < b, a, b); }
// v, its magnitude at most `limit`; in this order NaN stays NaN.
INLINE Vector limit_magnitude(Vector v, float limit) {
    return smaller(splat(limit), larger(splat(-limit), v));
}
INLINE bool all_between(Vector v, float least, float most) {
    const Integers inside = (v >= splat(least)) & (v <= splat(most));
    return (inside[0] & inside[1] & inside[2] & inside[3]) != 0;
}

// significand * 2^n, n being the low bits of `count`.
INLINE Vector scale_by_power(Vector significand, Vector count) {
    return (Vector)((Integers)significand + ((Integers)count << 23));
}

// Add `penalty` in the lanes whose region is another one than `region`.
INLINE Vector add_where_other(Vector v, const int32_t* regions, int32_t region, Vector penalty) {
    const Integers other = *(const Integers*)regions != Integers{region, region, region, region};
    return v + (Vector)(other & (Integers)penalty);
}

INLINE Vector load_any(const float* from) {
    Vector v;
    __builtin_memcpy(&v, from, sizeof(v));
    return v;
}
INLINE void store_any(float* to, Vector v) { __builtin_memcpy(to, &v, sizeof(v)); }
INLINE Vector load_first(const float* from, int count) {
    Vector v = zero();
    for (int i = 0; i < count; i++) v[i] = from[i];
    return v;
}
INLINE void store_first(float* to, Vector v, int count) {
    for (int i = 0; i < count; i++) to[i] = v[i];
}

INLINE void transpose(Vector (&rows)[LANES]) {
    const Vector a = rows[0], b = rows[1], c = rows[2], d = rows[3];
    UNROLL_FOR (int i = 0; i < 4; i++) rows[i] = Vector{a[i], b[i], c[i], d[i]};
}

#if SWINIR_BF16  // only for tests: what AVX512-BF16 does, on any processor

constexpr int GROUP = 2;
using Element = uint16_t;

// The nearest bfloat16s in the upper halves, ties to even.
INLINE Integers round_to_bf16(Vector v) {
    const Integers bits = (Integers)v;
    const Integers rounded = bits + 0x7fff + (bits >> 16 & 1);
    const Integers quiet = bits | 0x400000;
    return (((v != v) & quiet) | ((v == v) & rounded)) & (int32_t)0xffff0000;
}
// What pack_pair packed, as floats.
INLINE Vector even_of(Vector pairs) { return (Vector)((Integers)pairs << 16); }
INLINE Vector odd_of(Vector pairs) { return (Vector)((Integers)pairs & (int32_t)0xffff0000); }
// Pairs (a, b) of the elements of two vectors, each of them taken as 2 LANES elements in a row.
INLINE void interleave(Vector a, Vector b, Vector& first, Vector& last) {
    typedef uint16_t Elements __attribute__((vector_size(16)));
    const Elements low = (Elements)a, high = (Elements)b;
    first = (Vector)Elements{low[0], high[0], low[1], high[1], low[2], high[2], low[3], high[3]};
    last = (Vector)Elements{low[4], high[4], low[5], high[5], low[6], high[6], low[7], high[7]};
}
INLINE Vector dot(Vector sum, Vector a, Vector b) {
    return sum + odd_of(a) * odd_of(b) + even_of(a) * even_of(b);
}
// Lane by lane the pair (even, odd), the even one in the low half.
INLINE Vector pack_pair(Vector even, Vector odd) {
    typedef uint32_t Unsigned __attribute__((vector_size(16)));
    return (Vector)(((Unsigned)round_to_bf16(even) >> 16) | (Unsigned)round_to_bf16(odd));
}
INLINE void store_elements(Element* to, Vector v) {
    const Integers rounded = round_to_bf16(v);
    for (int i = 0; i < LANES; i++) to[i] = (Element)((uint32_t)rounded[i] >> 16);
}

#else

constexpr int GROUP = 1;
using Element = float;

INLINE Vector dot(Vector sum, Vector a, Vector b) { return a * b + sum; }
INLINE void store_elements(Element* to, Vector v) { store(to, v); }

#endif

}  // namespace
