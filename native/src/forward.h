// A transformer layer forward: one window from its pixels to its pixels.

namespace {

// x += (bias + weights x operand) scale, in float32.
void add_product(const Sizes& s, const Packed& packed, const float* operand, float scale, float* x) {
    const Vector factor = splat(scale);
    multiply_weights(packed.weights(), operand, s.tokens, [&](int row, int column, auto& sums) ALWAYS_INLINE {
        constexpr int COLUMNS = sizeof(sums[0]) / sizeof(sums[0][0]);
        float* to = x + (ptrdiff_t)row * s.tokens + column * LANES;
        UNROLL_FOR (int r = 0; r < BLOCK_ROWS; r++)
            UNROLL_FOR (int c = 0; c < COLUMNS; c++) {
                float* place = to + r * s.tokens + c * LANES;
                store(place, multiply_add(sums[r][c], factor, load(place)));
            }
    });
}

// An operand of the next product: bias + weights x operand.
void product_as_operand(const Sizes& s, const Packed& packed, const float* operand, float* result) {
    multiply_weights(packed.weights(), operand, s.tokens, [&](int row, int column, auto& sums) ALWAYS_INLINE {
        store_block(result, s.tokens, row, column, sums);
    });
}

void project_values(const Sizes& s, const Packed& packed, const float* operand, Element* values) {
    multiply_weights(packed.weights(), operand, s.tokens, [&](int row, int column, auto& sums) ALWAYS_INLINE {
        constexpr int COLUMNS = sizeof(sums[0]) / sizeof(sums[0][0]);
        UNROLL_FOR (int r = 0; r < BLOCK_ROWS; r++)
            UNROLL_FOR (int c = 0; c < COLUMNS; c++)
                store_elements(values + (ptrdiff_t)(row + r) * s.tokens + (column + c) * LANES, sums[r][c]);
    });
}

// While it is computed, the next window arrives: earlier, the weights would drive it out of the cache again.
void project_hidden(const Sizes& s, const Packed& packed, const swinir::Stream& stream,
                    const Scratch& scratch) {
    const int num_blocks = packed.weights().num_blocks;
    multiply_weights(packed.weights(), scratch.operand, s.tokens,
                     [&](int row, int column, auto& sums) ALWAYS_INLINE {
                         constexpr int COLUMNS = sizeof(sums[0]) / sizeof(sums[0][0]);
                         if (column == 0)
                             fetch(s, stream.x, scratch.next_place, row / BLOCK_ROWS, num_blocks);
                         UNROLL_FOR (int r = 0; r < BLOCK_ROWS; r++)
                             UNROLL_FOR (int c = 0; c < COLUMNS; c++) sums[r][c] = gelu(sums[r][c]);
                         store_block(scratch.hidden, s.tokens, row, column, sums);
                     });
}

void attend_window(const Sizes& s, const PackedLayer& layer, const Scratch& scratch) {
    for (int number = 0; number < s.heads; number++) {
        const ptrdiff_t operand_start = (ptrdiff_t)number * s.head_rows / GROUP * s.tokens;
        const ptrdiff_t start = (ptrdiff_t)number * s.head_rows * s.tokens;
        attend<false>(s, {layer.position_bias + (ptrdiff_t)number * s.keys * s.tokens,
                          scratch.queries + operand_start, scratch.keys + operand_start,
                          scratch.values + start, scratch.place.has_regions ? scratch.place.regions : nullptr,
                          scratch.probabilities, scratch.shares, scratch.operand + operand_start});
    }
}

void compute_window(const Sizes& s, const PackedLayer& layer, const swinir::Stream& stream,
                    const Scratch& scratch) {
    gather(s, stream.x, scratch.place, scratch.x);
    normalize(scratch.x, s.channels, s.tokens, scratch.operand);
    product_as_operand(s, layer.query, scratch.operand, scratch.queries);
    product_as_operand(s, layer.key, scratch.operand, scratch.keys);
    project_values(s, layer.value, scratch.operand, scratch.values);
    attend_window(s, layer, scratch);
    add_product(s, layer.proj, scratch.operand, branch_scale(stream, scratch.place, 0), scratch.x);
    normalize(scratch.x, s.channels, s.tokens, scratch.operand);
    project_hidden(s, layer.fc1, stream, scratch);
    add_product(s, layer.fc2, scratch.hidden, branch_scale(stream, scratch.place, 1), scratch.x);
    scatter(s, stream.y, scratch.place, scratch.x);
}

}  // namespace
