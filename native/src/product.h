// Matrix products with tokens in the lanes: [rows, depth] x [depth, tokens], one block of sums in registers.
//
// An operand is a matrix of 32-bit lanes, [depth / GROUP, tokens]: floats, or pairs of bfloat16 that follow each other
// in depth. The left factor, weights, is packed block by block of BLOCK_ROWS rows in the order in which it is used.

namespace {

constexpr int round_up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

// The left factor of a product: rows and depth are those before padding with zeros.
struct Weights {
    const float* bias;
    const float* blocks;
    int num_blocks;
    int steps;
};

template <int ROWS, int COLUMNS>
using Block = Vector[ROWS][COLUMNS];

// sums[r][c] += left[r] * right[c] over `steps`; `left` strides by `left_step` and `left_row`, `right` by `tokens`.
template <int ROWS, int COLUMNS>
INLINE void accumulate(Block<ROWS, COLUMNS>& sums, const float* left, ptrdiff_t left_row, ptrdiff_t left_step,
                       const float* right, ptrdiff_t tokens, int steps) {
    for (int step = 0; step < steps; step++) {
        Vector columns[COLUMNS];
        UNROLL_FOR (int c = 0; c < COLUMNS; c++) columns[c] = keep(load_any(right + c * LANES));
        UNROLL_FOR (int r = 0; r < ROWS; r++) {
            const Vector factor = splat(left[r * left_row]);
            UNROLL_FOR (int c = 0; c < COLUMNS; c++) sums[r][c] = dot(sums[r][c], factor, columns[c]);
        }
        left += left_step;
        right += tokens;
    }
}

// Calls work(column, std::integral_constant-like width) over all columns of vectors, AT_ONCE at a time.
template <int COLUMNS>
struct Width {
    static constexpr int value = COLUMNS;
};

template <int AT_ONCE = BLOCK_COLUMNS, class Work>
INLINE void for_columns(int num_columns, Work work) {
    int column = 0;
    for (; column + AT_ONCE <= num_columns; column += AT_ONCE) work(column, Width<AT_ONCE>());
    if (AT_ONCE > 2 && column + 2 <= num_columns) {
        work(column, Width<2>());
        column += 2;
    }
    for (; column < num_columns; column++) work(column, Width<1>());
}

// bias + weights x operand, handed to finish(row, column, sums) block by block.
template <class Finish>
INLINE void multiply_weights(const Weights& weights, const float* operand, int tokens, Finish finish) {
    const float* left = weights.blocks;
    for (int block = 0; block < weights.num_blocks; block++, left += (ptrdiff_t)weights.steps * BLOCK_ROWS) {
        const float* bias = weights.bias + block * BLOCK_ROWS;
        for_columns(tokens / LANES, [&](int column, auto width) ALWAYS_INLINE {
            constexpr int COLUMNS = decltype(width)::value;
            Block<BLOCK_ROWS, COLUMNS> sums;
            UNROLL_FOR (int r = 0; r < BLOCK_ROWS; r++) {
                const Vector start = splat(bias[r]);
                UNROLL_FOR (int c = 0; c < COLUMNS; c++) sums[r][c] = start;
            }
            accumulate<BLOCK_ROWS, COLUMNS>(sums, left, 1, BLOCK_ROWS, operand + column * LANES, tokens,
                                            weights.steps);
            finish(block * BLOCK_ROWS, column, sums);
        });
    }
}

// left x right, handed to finish(row, column, sums): left is elements [rows, stride], rows even, right an operand
// [steps, width].
template <class Finish>
INLINE void multiply_elements(const Element* left, int rows, int stride, const float* right, int width,
                              int steps, Finish finish) {
    constexpr int ELEMENTS_OF_FLOAT = (int)(sizeof(float) / sizeof(Element));
    for_columns(width / LANES, [&](int column, auto at_once) ALWAYS_INLINE {
        constexpr int COLUMNS = decltype(at_once)::value;
        const auto rows_from = [&](int row, auto height) ALWAYS_INLINE {
            constexpr int ROWS = decltype(height)::value;
            Block<ROWS, COLUMNS> sums;
            UNROLL_FOR (int r = 0; r < ROWS; r++)
                UNROLL_FOR (int c = 0; c < COLUMNS; c++) sums[r][c] = zero();
            accumulate<ROWS, COLUMNS>(sums, (const float*)(const void*)(left + (ptrdiff_t)row * stride),
                                      stride / ELEMENTS_OF_FLOAT, 1, right + column * LANES, width, steps);
            finish(row, column, sums);
        };
        int row = 0;
        for (; row + 6 <= rows; row += 6) rows_from(row, Width<6>());
        if (row + 4 <= rows) {
            rows_from(row, Width<4>());
            row += 4;
        }
        if (row + 2 <= rows) rows_from(row, Width<2>());
    });
}

// Store rows `row` and `row + 1` (row even) of an operand.
INLINE void store_rows(float* operand, int tokens, int row, int column, Vector even, Vector odd) {
#if SWINIR_BF16
    store(operand + row / 2 * tokens + column * LANES, pack_pair(even, odd));
#else
    store(operand + row * tokens + column * LANES, even);
    store(operand + (row + 1) * tokens + column * LANES, odd);
#endif
}

// Load what store_rows stored.
INLINE void load_rows(const float* operand, int tokens, int row, int column, Vector& even, Vector& odd) {
#if SWINIR_BF16
    const Vector pairs = load(operand + row / 2 * tokens + column * LANES);
    even = even_of(pairs);
    odd = odd_of(pairs);
#else
    even = load(operand + row * tokens + column * LANES);
    odd = load(operand + (row + 1) * tokens + column * LANES);
#endif
}

template <int ROWS, int COLUMNS>
INLINE void store_block(float* operand, int tokens, int row, int column, const Block<ROWS, COLUMNS>& sums) {
    static_assert(ROWS % 2 == 0, "rows are stored in pairs");
    UNROLL_FOR (int r = 0; r < ROWS; r += 2)
        UNROLL_FOR (int c = 0; c < COLUMNS; c++)
            store_rows(operand, tokens, row + r, column + c, sums[r][c], sums[r + 1][c]);
}

template <int ROWS, int COLUMNS>
INLINE void store_values(float* values, int tokens, int row, int column, const Block<ROWS, COLUMNS>& sums) {
    float* to = values + (ptrdiff_t)row * tokens + column * LANES;
    UNROLL_FOR (int r = 0; r < ROWS; r++)
        UNROLL_FOR (int c = 0; c < COLUMNS; c++) store(to + (ptrdiff_t)r * tokens + c * LANES, sums[r][c]);
}

template <int ROWS, int COLUMNS>
INLINE void store_block_elements(Element* elements, int tokens, int row, int column,
                                 const Block<ROWS, COLUMNS>& sums) {
    Element* to = elements + (ptrdiff_t)row * tokens + column * LANES;
    UNROLL_FOR (int r = 0; r < ROWS; r++)
        UNROLL_FOR (int c = 0; c < COLUMNS; c++)
            store_elements(to + (ptrdiff_t)r * tokens + c * LANES, sums[r][c]);
}

}  // namespace
