// A transformer layer backward, window by window: everything but the layer's input is computed again.
//
// Names are those of the forward pass; `grad` is the gradient of the loss by the residual stream, first behind the
// layer, then between its two halves, at last in front of it. Gradients of weights sum over tokens, so one factor of
// each such product lies with its tokens down the rows: it is turned once, and a row of ones beside it gives the bias.

namespace {

constexpr float LN_2 = 0.69314718f;

// [rows, tokens] in the three forms in which products take it; with float32 products they are one.
struct Matrix {
    float* values;
    float* operand;     // right factor of a product over rows
    Element* elements;  // left factor of a product over tokens

    Matrix(Parts& parts, int rows, int tokens)
        : values(parts.take<float>((size_t)round_up(rows, BLOCK_ROWS) * tokens)),
          operand(GROUP == 1 ? values
                             : parts.take<float>((size_t)round_up(rows, BLOCK_ROWS) * tokens / GROUP)),
          elements(GROUP == 1 ? reinterpret_cast<Element*>(values)
                              : parts.take<Element>((size_t)round_up(rows, BLOCK_ROWS) * tokens)) {}

    // The same from a row on, which is even.
    Matrix from(int row, int tokens) const {
        Matrix rest = *this;
        rest.values += (ptrdiff_t)row * tokens;
        rest.operand += (ptrdiff_t)row / GROUP * tokens;
        rest.elements += (ptrdiff_t)row * tokens;
        return rest;
    }
};

enum Form { VALUES = 1, OPERAND = 2, ELEMENTS = 4 };

// Store a block in some forms.
template <int FORMS, int ROWS, int COLUMNS>
INLINE void store_forms(const Matrix& to, int tokens, int row, int column, const Block<ROWS, COLUMNS>& sums) {
    if (GROUP == 1 || (FORMS & VALUES)) store_values(to.values, tokens, row, column, sums);
    if (GROUP == 2 && (FORMS & OPERAND)) store_block(to.operand, tokens, row, column, sums);
    if (GROUP == 2 && (FORMS & ELEMENTS)) store_block_elements(to.elements, tokens, row, column, sums);
}

// What one window needs while its gradients are computed.
struct BackwardScratch {
    float* x;  // [channels, tokens], the residual stream
    Matrix normed1, normed2;
    float* inverse_deviations1;  // [tokens], of the norms
    float* inverse_deviations2;
    Matrix queries, keys, values;
    float* probabilities;  // operands [heads, tokens, tokens], key by query, not yet divided by their sums
    float* shares;         // [heads, tokens], one over those sums
    Matrix attended;
    Matrix hidden;
    float* slopes;       // [hidden, tokens], of the activation
    Matrix grad;         // of the stream
    Matrix grad_branch;  // of what a branch adds to it
    Matrix grad_hidden;
    Matrix grad_normed;
    Matrix grad_attended;
    Element* grad_shared;  // [head_rows, tokens], grad_attended of a head over the sums of its probabilities
    float* grad_scores;    // operand of one head, [tokens, tokens], key by query
    Matrix grad_qkv;
    float* turned;     // operand with the tokens down the rows
    Place place;       // of the window
    Place next_place;  // of the window after it, whose pixels are fetched meanwhile

    BackwardScratch(const Sizes& s, Parts& parts)
        : x(parts.take<float>(Scratch::area(s, s.channels))),
          normed1(parts, s.channels, s.tokens),
          normed2(parts, s.channels, s.tokens),
          inverse_deviations1(parts.take<float>(s.tokens)),
          inverse_deviations2(parts.take<float>(s.tokens)),
          queries(parts, s.rows, s.tokens),
          keys(parts, s.rows, s.tokens),
          values(parts, s.rows, s.tokens),
          probabilities(parts.take<float>((size_t)s.heads * scores_area(s))),
          shares(parts.take<float>((size_t)s.heads * s.tokens)),
          attended(parts, s.rows, s.tokens),
          hidden(parts, s.hidden, s.tokens),
          slopes(parts.take<float>(Scratch::area(s, s.hidden))),
          grad(parts, s.channels, s.tokens),
          grad_branch(parts, s.channels, s.tokens),
          grad_hidden(parts, s.hidden, s.tokens),
          grad_normed(parts, s.channels, s.tokens),
          grad_attended(parts, s.rows, s.tokens),
          grad_shared(parts.take<Element>((size_t)s.head_rows * s.tokens)),
          grad_scores(parts.take<float>(scores_area(s))),
          grad_qkv(parts, 3 * s.rows, s.tokens),
          turned(parts.take<float>((size_t)largest_width(s) * s.tokens / GROUP)),
          place(s, parts),
          next_place(s, parts) {}

    // Floats of the scores of one head as an operand.
    static size_t scores_area(const Sizes& s) { return (size_t)s.tokens * s.tokens / GROUP; }

    static int largest_width(const Sizes& s) {
        const int widths[] = {WeightSums::width_of(s.channels), WeightSums::width_of(s.rows),
                              WeightSums::width_of(s.hidden), s.tokens};
        int largest = 0;
        for (int width : widths) largest = width > largest ? width : largest;
        return largest;
    }

    float* probabilities_of(const Sizes& s, int head) const {
        return probabilities + (ptrdiff_t)(head * scores_area(s));
    }
};

// Write values [rows, tokens] as the operand [tokens, width]; behind the rows comes one of ones, then zeros.
void turn(const float* values, int rows, int tokens, int width, float* turned) {
    for (int row = 0; row < width; row += LANES) {
        for (int token = 0; token < tokens; token += LANES) {
            Vector block[LANES];
            for (int i = 0; i < LANES; i++)
                block[i] = row + i < rows ? load(values + (ptrdiff_t)(row + i) * tokens + token)
                                          : splat(row + i == rows ? 1.0f : 0.0f);
            transpose(block);
            UNROLL_FOR (int i = 0; i < LANES; i += 2)
                store_rows(turned, width, token + i, row / LANES, block[i], block[i + 1]);
        }
    }
}

// Write the transpose of an operand [tokens, tokens] as another.
void turn_scores(const Sizes& s, const float* scores, float* turned) {
#if SWINIR_BF16
    const int num_pairs = s.tokens / 2;
    for (int pair = 0; pair < num_pairs; pair += LANES) {
        for (int token = 0; token < s.tokens; token += LANES) {
            Vector block[LANES];
            for (int i = 0; i < LANES; i++)
                block[i] =
                    pair + i < num_pairs ? load(scores + (ptrdiff_t)(pair + i) * s.tokens + token) : zero();
            transpose(block);
            float* to = turned + (ptrdiff_t)token / 2 * s.tokens + 2 * pair;
            UNROLL_FOR (int i = 0; i < LANES; i += 2) {
                Vector first, last;
                interleave(block[i], block[i + 1], first, last);
                store(to + (ptrdiff_t)i / 2 * s.tokens, first);
                if (2 * pair + LANES < s.tokens) store(to + (ptrdiff_t)i / 2 * s.tokens + LANES, last);
            }
        }
    }
#else
    turn(scores, s.tokens, s.tokens, s.tokens, turned);
#endif
}

// sums += grad x (input, 1) transposed, over the tokens.
void add_weight_gradients(const Sizes& s, const Matrix& grad, int rows, const Matrix& input, int depth,
                          float* turned, const WeightSums& sums) {
    turn(input.values, depth, s.tokens, sums.width, turned);
    multiply_elements(grad.elements, round_up(rows, 2), s.tokens, turned, sums.width, s.tokens / GROUP,
                      [&](int row, int column, auto& products) ALWAYS_INLINE {
                          constexpr int ROWS = sizeof(products) / sizeof(products[0]);
                          constexpr int COLUMNS = sizeof(products[0]) / sizeof(products[0][0]);
                          float* to = sums.values + (ptrdiff_t)row * sums.width + column * LANES;
                          UNROLL_FOR (int r = 0; r < ROWS; r++)
                              UNROLL_FOR (int c = 0; c < COLUMNS; c++) {
                                  float* place = to + (ptrdiff_t)r * sums.width + c * LANES;
                                  store(place, add(load(place), products[r][c]));
                              }
                      });
}

// A product with its result in some forms.
template <int FORMS>
void product_as(const Sizes& s, const Packed& packed, const float* operand, const Matrix& result) {
    multiply_weights(packed.weights(), operand, s.tokens, [&](int row, int column, auto& sums) ALWAYS_INLINE {
        store_forms<FORMS>(result, s.tokens, row, column, sums);
    });
}

// `to` = from * scale, as both factors of products.
void scale_gradient(const Sizes& s, const float* from, int rows, float scale, const Matrix& to) {
    const Vector factor = splat(scale);
    for (int row = 0; row < rows; row += 2)
        for (int column = 0; column < s.tokens / LANES; column++) {
            Block<2, 1> pair;
            UNROLL_FOR (int r = 0; r < 2; r++) {
                const float* place = from + (ptrdiff_t)(row + r) * s.tokens + column * LANES;
                pair[r][0] = row + r < rows ? multiply(load(place), factor) : zero();
            }
            store_forms<OPERAND | ELEMENTS>(to, s.tokens, row, column, pair);
        }
}

// Add to `grad` what comes back through a norm (Ba et al. 2016): (g - mean(g) - n mean(g n)) / deviation.
void add_norm_gradient(const Sizes& s, const float* grad_normed, const float* normed,
                       const float* inverse_deviations, float* grad) {
    const Vector share = splat(1.0f / (float)s.channels);
    for_columns(s.tokens / LANES, [&](int column, auto width) ALWAYS_INLINE {
        constexpr int COLUMNS = decltype(width)::value;
        Vector mean[COLUMNS], projection[COLUMNS], scale[COLUMNS];
        UNROLL_FOR (int c = 0; c < COLUMNS; c++) {
            mean[c] = projection[c] = zero();
            scale[c] = load(inverse_deviations + (column + c) * LANES);
        }
        for (int channel = 0; channel < s.channels; channel++)
            UNROLL_FOR (int c = 0; c < COLUMNS; c++) {
                const ptrdiff_t at = (ptrdiff_t)channel * s.tokens + (column + c) * LANES;
                mean[c] = add(mean[c], load(grad_normed + at));
                projection[c] = multiply_add(load(grad_normed + at), load(normed + at), projection[c]);
            }
        UNROLL_FOR (int c = 0; c < COLUMNS; c++) {
            mean[c] = multiply(mean[c], share);
            projection[c] = subtract(zero(), multiply(projection[c], share));
        }
        for (int channel = 0; channel < s.channels; channel++)
            UNROLL_FOR (int c = 0; c < COLUMNS; c++) {
                const ptrdiff_t at = (ptrdiff_t)channel * s.tokens + (column + c) * LANES;
                const Vector centred = subtract(load(grad_normed + at), mean[c]);
                const Vector inside = multiply_add(load(normed + at), projection[c], centred);
                store(grad + at, multiply_add(inside, scale[c], load(grad + at)));
            }
    });
}

// Attention and what its backward pass needs of it.
void attend_again(const Sizes& s, const PackedLayer& layer, const BackwardScratch& w) {
    for (int number = 0; number < s.heads; number++) {
        const int row = number * s.head_rows;
        const Matrix attended = w.attended.from(row, s.tokens);
        Head head = {layer.position_bias + (ptrdiff_t)number * s.keys * s.tokens,
                     w.queries.from(row, s.tokens).operand,
                     w.keys.from(row, s.tokens).operand,
                     w.values.from(row, s.tokens).elements,
                     w.place.has_regions ? w.place.regions : nullptr,
                     w.probabilities_of(s, number),
                     w.shares + (ptrdiff_t)number * s.tokens,
                     attended.operand};
        head.kept_attended = attended.values;
        attend<true>(s, head);
    }
}

// Of one head: sum over channels of attended * grad_attended for each query; and grad_attended in the forms in which
// it is multiplied.
void prepare_head(const Sizes& s, const float* shares, const Matrix& attended, const Matrix& grad_attended,
                  Element* grad_shared, float* dots) {
    for (int column = 0; column < s.tokens / LANES; column++) {
        const Vector share = load(shares + column * LANES);
        Vector dot = zero();
        for (int row = 0; row < s.head_rows; row += 2) {
            Block<2, 1> pair, shared;
            UNROLL_FOR (int r = 0; r < 2; r++) {
                const ptrdiff_t at = (ptrdiff_t)(row + r) * s.tokens + column * LANES;
                pair[r][0] = load(grad_attended.values + at);
                dot = multiply_add(pair[r][0], load(attended.values + at), dot);
                shared[r][0] = multiply(pair[r][0], share);
            }
            if (GROUP == 2) store_block(grad_attended.operand, s.tokens, row, column, pair);
            store_block_elements(grad_shared, s.tokens, row, column, shared);
        }
        store(dots + column * LANES, dot);
    }
}

// Gradients of one head's scores, P (dP - dot): into grad_scores, and added to those of the position bias.
void differentiate_scores(const Sizes& s, const float* probabilities, const float* shares, const float* dots,
                          const Matrix& values, const Matrix& grad_attended, float* grad_scores,
                          float* bias_sums) {
    for_columns<SCORE_COLUMNS>(s.tokens / LANES, [&](int column, auto width) ALWAYS_INLINE {
        constexpr int COLUMNS = decltype(width)::value;
        Vector share[COLUMNS], dot[COLUMNS];
        UNROLL_FOR (int c = 0; c < COLUMNS; c++) {
            share[c] = load(shares + (column + c) * LANES);
            dot[c] = load(dots + (column + c) * LANES);
        }
        for (int key = 0; key < s.keys; key += BLOCK_KEYS) {
            Block<BLOCK_KEYS, COLUMNS> sums;
            UNROLL_FOR (int r = 0; r < BLOCK_KEYS; r++)
                UNROLL_FOR (int c = 0; c < COLUMNS; c++) sums[r][c] = zero();
            accumulate<BLOCK_KEYS, COLUMNS>(sums, values.operand + key, 1, s.tokens,
                                            grad_attended.operand + column * LANES, s.tokens,
                                            s.head_rows / GROUP);
            UNROLL_FOR (int r = 0; r < BLOCK_KEYS; r += 2)
                UNROLL_FOR (int c = 0; c < COLUMNS; c++) {
                    Vector even, odd;
                    load_rows(probabilities, s.tokens, key + r, column + c, even, odd);
                    sums[r][c] = multiply(multiply(even, share[c]), subtract(sums[r][c], dot[c]));
                    sums[r + 1][c] = multiply(multiply(odd, share[c]), subtract(sums[r + 1][c], dot[c]));
                }
            UNROLL_FOR (int r = 0; r < BLOCK_KEYS; r++)
                UNROLL_FOR (int c = 0; c < COLUMNS; c++) {
                    float* place = bias_sums + (ptrdiff_t)(key + r) * s.tokens + (column + c) * LANES;
                    store(place, add(load(place), sums[r][c]));
                }
            store_block(grad_scores, s.tokens, key, column, sums);
        }
    });
}

// left x right over tokens or keys, times `factor`, as rows of the gradients of qkv.
void multiply_head(const Sizes& s, const Element* left, const float* right, int steps, float factor,
                   const Matrix& result) {
    const Vector scale = splat(factor);
    multiply_elements(left, s.head_rows, s.tokens, right, s.tokens, steps,
                      [&](int row, int column, auto& sums) ALWAYS_INLINE {
                          constexpr int ROWS = sizeof(sums) / sizeof(sums[0]);
                          constexpr int COLUMNS = sizeof(sums[0]) / sizeof(sums[0][0]);
                          UNROLL_FOR (int r = 0; r < ROWS; r++)
                              UNROLL_FOR (int c = 0; c < COLUMNS; c++)
                                  sums[r][c] = multiply(sums[r][c], scale);
                          store_forms<OPERAND | ELEMENTS, ROWS, COLUMNS>(result, s.tokens, row, column, sums);
                      });
}

// Meanwhile the next window arrives, and the place where this one's gradient goes.
void differentiate_attention(const Sizes& s, const swinir::Gradients& gradients, const BackwardScratch& w,
                             const LayerSums& sums) {
    float* dots = w.x;  // the stream is no longer needed
    for (int number = 0; number < s.heads; number++) {
        const int row = number * s.head_rows;
        fetch(s, gradients.stream.x, w.next_place, number, s.heads);
        fetch(s, gradients.grad_y, w.next_place, number, s.heads);
        fetch(s, gradients.stream.y, w.place, number, s.heads);
        const float* shares = w.shares + (ptrdiff_t)number * s.tokens;
        const float* probabilities = w.probabilities_of(s, number);
        const Matrix grad_attended = w.grad_attended.from(row, s.tokens);
        prepare_head(s, shares, w.attended.from(row, s.tokens), grad_attended, w.grad_shared, dots);
        differentiate_scores(s, probabilities, shares, dots, w.values.from(row, s.tokens), grad_attended,
                             w.grad_scores, sums.position_bias + (ptrdiff_t)number * s.keys * s.tokens);
        // Scores are in powers of two within the kernel: ln 2 more for queries and keys.
        multiply_head(s, w.keys.from(row, s.tokens).elements, w.grad_scores, s.keys / GROUP, LN_2,
                      w.grad_qkv.from(row, s.tokens));
        turn_scores(s, w.grad_scores, w.turned);
        multiply_head(s, w.queries.from(row, s.tokens).elements, w.turned, s.tokens / GROUP, LN_2,
                      w.grad_qkv.from(s.rows + row, s.tokens));
        turn_scores(s, probabilities, w.turned);
        multiply_head(s, w.grad_shared, w.turned, s.tokens / GROUP, 1.0f,
                      w.grad_qkv.from(2 * s.rows + row, s.tokens));
    }
}

// Replace a block of hidden channels by their activations, and write the slopes of those. Not inlined: GCC would hold
// the coefficients in registers throughout the product before, and the product's sums on the stack.
template <int COLUMNS>
__attribute__((noinline)) void activate_block(const Sizes& s, float* values, float* slopes) {
    for (int r = 0; r < BLOCK_ROWS; r++) {
        Vector hidden[COLUMNS];
        UNROLL_FOR (int c = 0; c < COLUMNS; c++) hidden[c] = load(values + c * LANES);
        UNROLL_FOR (int c = 0; c < COLUMNS; c++) store(slopes + c * LANES, gelu_and_slope(hidden[c]));
        UNROLL_FOR (int c = 0; c < COLUMNS; c++) store(values + c * LANES, hidden[c]);
        values += s.tokens;
        slopes += s.tokens;
    }
}

// The forward pass again, as far as the MLP's hidden channels.
void compute_again(const Sizes& s, const PackedLayer& layer, const swinir::Stream& stream,
                   const BackwardScratch& w) {
    gather(s, stream.x, w.place, w.x);
    normalize(w.x, s.channels, s.tokens, w.normed1.operand, w.inverse_deviations1, w.normed1.values);
    product_as<OPERAND | ELEMENTS>(s, layer.query, w.normed1.operand, w.queries);
    product_as<OPERAND | ELEMENTS>(s, layer.key, w.normed1.operand, w.keys);
    product_as<OPERAND | ELEMENTS>(s, layer.value, w.normed1.operand, w.values);
    attend_again(s, layer, w);
    add_product(s, layer.proj, w.attended.operand, branch_scale(stream, w.place, 0), w.x);
    normalize(w.x, s.channels, s.tokens, w.normed2.operand, w.inverse_deviations2, w.normed2.values);
    multiply_weights(layer.fc1.weights(), w.normed2.operand, s.tokens,
                     [&](int row, int column, auto& sums) ALWAYS_INLINE {
                         constexpr int COLUMNS = sizeof(sums[0]) / sizeof(sums[0][0]);
                         const ptrdiff_t at = (ptrdiff_t)row * s.tokens + column * LANES;
                         store_values(w.hidden.values, s.tokens, row, column, sums);
                         activate_block<COLUMNS>(s, w.hidden.values + at, w.slopes + at);
                     });
}

// Read the gradient behind the layer; what repeats a token, as padding, has none.
void gather_gradient(const Sizes& s, const float* grad_y, const BackwardScratch& w) {
    gather(s, grad_y, w.place, w.grad.values);
    for (int channel = 0; channel < s.channels; channel++)
        for (int token = s.num_tokens; token < s.tokens; token++)
            w.grad.values[(ptrdiff_t)channel * s.tokens + token] = 0;
}

void differentiate_mlp(const Sizes& s, const PackedBackward& layer, float scale, const BackwardScratch& w,
                       const LayerSums& sums) {
    scale_gradient(s, w.grad.values, s.channels, scale, w.grad_branch);
    add_weight_gradients(s, w.grad_branch, s.channels, w.hidden, s.hidden, w.turned, sums.fc2);
    multiply_weights(layer.fc2.weights(), w.grad_branch.operand, s.tokens,
                     [&](int row, int column, auto& products) ALWAYS_INLINE {
                         constexpr int COLUMNS = sizeof(products[0]) / sizeof(products[0][0]);
                         const float* slopes = w.slopes + (ptrdiff_t)row * s.tokens + column * LANES;
                         UNROLL_FOR (int r = 0; r < BLOCK_ROWS; r++)
                             UNROLL_FOR (int c = 0; c < COLUMNS; c++)
                                 products[r][c] = multiply(
                                     products[r][c], load(slopes + (ptrdiff_t)r * s.tokens + c * LANES));
                         store_forms<OPERAND | ELEMENTS>(w.grad_hidden, s.tokens, row, column, products);
                     });
    add_weight_gradients(s, w.grad_hidden, s.hidden, w.normed2, s.channels, w.turned, sums.fc1);
    product_as<VALUES>(s, layer.fc1, w.grad_hidden.operand, w.grad_normed);
    add_norm_gradient(s, w.grad_normed.values, w.normed2.values, w.inverse_deviations2, w.grad.values);
}

void differentiate_window(const Sizes& s, const PackedBackward& layer, const swinir::Gradients& gradients,
                          const BackwardScratch& w, const LayerSums& sums) {
    const swinir::Stream& stream = gradients.stream;
    compute_again(s, layer.forward, stream, w);
    gather_gradient(s, gradients.grad_y, w);
    differentiate_mlp(s, layer, branch_scale(stream, w.place, 1), w, sums);
    scale_gradient(s, w.grad.values, s.channels, branch_scale(stream, w.place, 0), w.grad_branch);
    add_weight_gradients(s, w.grad_branch, s.channels, w.attended, s.rows, w.turned, sums.proj);
    product_as<VALUES>(s, layer.proj, w.grad_branch.operand, w.grad_attended);
    differentiate_attention(s, gradients, w, sums);
    add_weight_gradients(s, w.grad_qkv, 3 * s.rows, w.normed1, s.channels, w.turned, sums.qkv);
    product_as<VALUES>(s, layer.qkv, w.grad_qkv.operand, w.grad_normed);
    add_norm_gradient(s, w.grad_normed.values, w.normed1.values, w.inverse_deviations1, w.grad.values);
    scatter(s, stream.y, w.place, w.grad.values);
}

// Rows of keys that no window has are multiplied as zeros.
void clear_padding(const Sizes& s, const BackwardScratch& w) {
    const size_t start = (size_t)s.keys * s.tokens / GROUP;
    for (size_t at = start; at < BackwardScratch::scores_area(s); at++) {
        w.grad_scores[at] = 0;
        for (int head = 0; head < s.heads; head++) w.probabilities_of(s, head)[at] = 0;
    }
}

}  // namespace
