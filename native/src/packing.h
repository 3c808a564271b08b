// Weights in the order in which the kernel reads them, everything constant folded in; done once for each layer.

namespace {

#if SWINIR_BF16

// The nearest bfloat16, ties to even, as the processor rounds; NaN stays NaN.
Element as_element(float value) {
    uint32_t bits;
    __builtin_memcpy(&bits, &value, sizeof(bits));
    if (value != value) return (Element)(bits >> 16 | 0x40);
    return (Element)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#else

Element as_element(float value) { return value; }

#endif

// Pack weight(row, depth) and bias(row); what is beyond rows or depth is 0.
template <class Weight, class Bias>
void pack_product(const Packed& packed, Weight weight, Bias bias) {
    const Weights sizes = packed.weights();
    char* place = reinterpret_cast<char*>(packed.blocks);
    for (int block = 0; block < sizes.num_blocks; block++) {
        for (int r = 0; r < BLOCK_ROWS; r++) {
            const int row = block * BLOCK_ROWS + r;
            packed.bias[row] = row < packed.rows ? (float)bias(row) : 0.0f;
        }
        for (int step = 0; step < sizes.steps; step++)
            for (int r = 0; r < BLOCK_ROWS; r++)
                for (int g = 0; g < GROUP; g++) {
                    const int row = block * BLOCK_ROWS + r, depth = step * GROUP + g;
                    const bool is_real = row < packed.rows && depth < packed.depth;
                    const Element element = as_element(is_real ? (float)weight(row, depth) : 0.0f);
                    __builtin_memcpy(place, &element, sizeof(element));
                    place += sizeof(element);
                }
    }
}

// A linear layer behind a norm, (W (n * scale + shift) + b) * factor for a normed n: scale goes into W, shift into b.
// `source` tells which row of W a packed row is, or -1 for a row of padding.
template <class Source>
void pack_behind_norm(const Packed& packed, int channels, const float* weight, const float* bias,
                      const float* norm_scale, const float* norm_shift, double factor, Source source) {
    pack_product(
        packed,
        [&](int row, int depth) {
            const int from = source(row);
            return from < 0 ? 0.0 : factor * weight[(ptrdiff_t)from * channels + depth] * norm_scale[depth];
        },
        [&](int row) {
            const int from = source(row);
            if (from < 0) return 0.0;
            double sum = bias[from];
            for (int c = 0; c < channels; c++)
                sum += (double)weight[(ptrdiff_t)from * channels + c] * norm_shift[c];
            return factor * sum;
        });
}

// What queries are multiplied by: scores are in powers of two, divided by the square root of the head's channels
// (Vaswani et al. 2017).
double query_factor(const Sizes& s) { return LOG2_E / __builtin_sqrt((double)s.head_dim); }

void pack_layer(const Sizes& s, const swinir_parameters& p, const PackedLayer& layer) {
    const auto channel_of = [&](int row) { return s.channel_of(row); };
    const auto pack_third = [&](const Packed& packed, int third, double factor) {
        const ptrdiff_t start = (ptrdiff_t)third * s.channels;
        pack_behind_norm(packed, s.channels, p.qkv_weight + start * s.channels, p.qkv_bias + start,
                         p.norm1_weight, p.norm1_bias, factor, channel_of);
    };
    pack_third(layer.query, 0, query_factor(s));
    pack_third(layer.key, 1, 1.0);
    pack_third(layer.value, 2, 1.0);
    pack_product(
        layer.proj,
        [&](int row, int depth) {
            const int channel = channel_of(depth);
            return channel < 0 ? 0.0f : p.proj_weight[(ptrdiff_t)row * s.channels + channel];
        },
        [&](int row) { return p.proj_bias[row]; });
    pack_behind_norm(layer.fc1, s.channels, p.fc1_weight, p.fc1_bias, p.norm2_weight, p.norm2_bias, 1.0,
                     [](int row) { return row; });
    pack_product(
        layer.fc2, [&](int row, int depth) { return p.fc2_weight[(ptrdiff_t)row * s.hidden + depth]; },
        [&](int row) { return p.fc2_bias[row]; });
    float* place = layer.position_bias;
    for (int head = 0; head < s.heads; head++)
        for (int key = 0; key < s.keys; key++)
            for (int query = 0; query < s.tokens; query++) {
                const bool is_real = key < s.num_tokens && query < s.num_tokens;
                const float padding = key < s.num_tokens ? 0.0f : PADDED_SCORE;
                *place++ =
                    is_real
                        ? (float)(LOG2_E *
                                  p.position_bias[((ptrdiff_t)head * s.num_tokens + query) * s.num_tokens +
                                                  key])
                        : padding;
            }
}

}  // namespace
