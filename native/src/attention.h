// Attention within one window: keys down the rows, queries in the lanes, so that nothing is ever transposed.

namespace {

// log2(e): scores are kept in powers of two.
constexpr double LOG2_E = 1.4426950408889634;
// What a token of another region loses before the softmax: -100, as the published weights were trained with.
constexpr float MASKED_SCORE = (float)(-100.0 * LOG2_E);
// What a row of padding in the scores starts from: nothing brings it back.
constexpr float PADDED_SCORE = -1e30f;
// Sums of powers of two between these lost nothing that counts, neither to infinity nor to zero.
constexpr float LEAST_SOUND_SUM = 0x1p-64f;
constexpr float LARGEST_SOUND_SUM = 0x1p100f;

// One head of one window.
struct Head {
    const float* position_bias;
    const float* queries;
    const float* keys;
    const Element* values;
    const int32_t* regions;  // nullptr where all tokens see each other
    float* probabilities;
    float* shares;    // one over the sum of each query's probabilities
    float* attended;  // operand [head_rows, tokens]
    // [head_rows, tokens], for a backward pass whose products are not float32.
    float* kept_attended = nullptr;
};

// Scores of one block of keys for the queries of some columns.
template <int COLUMNS>
INLINE void score_block(const Sizes& s, const Head& head, int key, int column,
                        Block<BLOCK_KEYS, COLUMNS>& scores) {
    const float* bias = head.position_bias + (ptrdiff_t)key * s.tokens + column * LANES;
    UNROLL_FOR (int r = 0; r < BLOCK_KEYS; r++)
        UNROLL_FOR (int c = 0; c < COLUMNS; c++) scores[r][c] = load(bias + r * s.tokens + c * LANES);
    if (head.regions != nullptr) {
        UNROLL_FOR (int r = 0; r < BLOCK_KEYS; r++)
            UNROLL_FOR (int c = 0; c < COLUMNS; c++)
                scores[r][c] = add_where_other(scores[r][c], head.regions + (column + c) * LANES,
                                               head.regions[key + r], splat(MASKED_SCORE));
    }
    accumulate<BLOCK_KEYS, COLUMNS>(scores, head.keys + key, 1, s.tokens, head.queries + column * LANES,
                                    s.tokens, s.head_rows / GROUP);
}

// finish(key, scores) for every block of keys. The next block is multiplied before the last one is finished, so that
// the processor has work for its multipliers and its adders at the same time.
template <int COLUMNS, class Finish>
INLINE void score(const Sizes& s, const Head& head, int column, Finish finish) {
    Block<BLOCK_KEYS, COLUMNS> scores, next;
    score_block<COLUMNS>(s, head, 0, column, scores);
    for (int key = BLOCK_KEYS; key < s.keys; key += BLOCK_KEYS) {
        score_block<COLUMNS>(s, head, key, column, next);
        finish(key - BLOCK_KEYS, scores);
        UNROLL_FOR (int r = 0; r < BLOCK_KEYS; r++)
            UNROLL_FOR (int c = 0; c < COLUMNS; c++) scores[r][c] = next[r][c];
    }
    finish(s.keys - BLOCK_KEYS, scores);
}

// Write powers of two of the scores, less each query's `peaks` if they are given, and return their sums.
template <int COLUMNS, bool HAS_PEAKS>
INLINE void exponentiate(const Sizes& s, const Head& head, int column, const Vector (&peaks)[COLUMNS],
                         Vector (&sums)[COLUMNS]) {
    UNROLL_FOR (int c = 0; c < COLUMNS; c++) sums[c] = zero();
    score<COLUMNS>(s, head, column, [&](int key, Block<BLOCK_KEYS, COLUMNS>& scores) ALWAYS_INLINE {
        UNROLL_FOR (int r = 0; r < BLOCK_KEYS; r++)
            UNROLL_FOR (int c = 0; c < COLUMNS; c++) {
                const Vector exponent = HAS_PEAKS ? subtract(scores[r][c], peaks[c]) : scores[r][c];
                scores[r][c] = power_of_two(exponent);
                sums[c] = add(sums[c], scores[r][c]);
            }
        store_block<BLOCK_KEYS, COLUMNS>(head.probabilities, s.tokens, key, column, scores);
    });
}

// Softmax without its division: the sums are returned. Scores of trained networks are small, so they are raised to
// powers as they are, and only where a sum shows that this lost something, again from their largest (which is exact).
template <int COLUMNS>
INLINE void softmax(const Sizes& s, const Head& head, int column, Vector (&sums)[COLUMNS]) {
    Vector peaks[COLUMNS];
    UNROLL_FOR (int c = 0; c < COLUMNS; c++) peaks[c] = zero();
    exponentiate<COLUMNS, false>(s, head, column, peaks, sums);
    bool is_sound = true;
    UNROLL_FOR (int c = 0; c < COLUMNS; c++)
        is_sound = is_sound && all_between(sums[c], LEAST_SOUND_SUM, LARGEST_SOUND_SUM);
    if (__builtin_expect(is_sound, 1)) return;
    UNROLL_FOR (int c = 0; c < COLUMNS; c++) peaks[c] = splat(PADDED_SCORE);
    score<COLUMNS>(s, head, column, [&](int, Block<BLOCK_KEYS, COLUMNS>& scores) ALWAYS_INLINE {
        UNROLL_FOR (int r = 0; r < BLOCK_KEYS; r++)
            UNROLL_FOR (int c = 0; c < COLUMNS; c++) peaks[c] = larger(peaks[c], scores[r][c]);
    });
    exponentiate<COLUMNS, true>(s, head, column, peaks, sums);
}

// KEEPS: for a backward pass.
template <bool KEEPS>
INLINE void attend(const Sizes& s, const Head& head) {
    for_columns<SCORE_COLUMNS>(s.tokens / LANES, [&](int column, auto width) ALWAYS_INLINE {
        constexpr int COLUMNS = decltype(width)::value;
        Vector sums[COLUMNS];
        softmax<COLUMNS>(s, head, column, sums);
        UNROLL_FOR (int c = 0; c < COLUMNS; c++)
            store(head.shares + (column + c) * LANES, divide(splat(1.0f), sums[c]));
    });
    multiply_elements(head.values, s.head_rows, s.tokens, head.probabilities, s.tokens, s.keys / GROUP,
                      [&](int row, int column, auto& sums) ALWAYS_INLINE {
                          constexpr int ROWS = sizeof(sums) / sizeof(sums[0]);
                          constexpr int COLUMNS = sizeof(sums[0]) / sizeof(sums[0][0]);
                          UNROLL_FOR (int r = 0; r < ROWS; r++)
                              UNROLL_FOR (int c = 0; c < COLUMNS; c++)
                                  sums[r][c] = multiply(sums[r][c], load(head.shares + (column + c) * LANES));
                          store_block<ROWS, COLUMNS>(head.attended, s.tokens, row, column, sums);
                          if (KEEPS && GROUP == 2)
                              store_values<ROWS, COLUMNS>(head.kept_attended, s.tokens, row, column, sums);
                      });
}

}  // namespace
