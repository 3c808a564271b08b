// What a backward pass multiplies with and what it sums: transposed weights, and gradients of all parameters.

namespace {

// Weights of the products that carry gradients back, each the transpose of a packed one.
struct PackedBackward {
    PackedLayer forward;
    Packed qkv, proj, fc1, fc2;  // by the product whose input's gradient they give

    PackedBackward(const Sizes& s, Parts& parts)
        : forward(s, parts),
          qkv(parts, s.channels, 3 * s.rows),
          proj(parts, s.rows, s.channels),
          fc1(parts, s.channels, s.hidden),
          fc2(parts, s.hidden, s.channels) {}
};

// Factor of each third of qkv within the kernel.
double third_factor(const Sizes& s, int third) { return third == 0 ? query_factor(s) : 1.0; }

void pack_backward(const Sizes& s, const swinir_parameters& p, const PackedBackward& packed) {
    const auto no_bias = [](int) { return 0.0f; };
    pack_layer(s, p, packed.forward);
    pack_product(
        packed.qkv,
        [&](int channel, int depth) {
            const int third = (depth >= s.rows) + (depth >= 2 * s.rows);
            const int from = s.channel_of(depth - third * s.rows);
            if (from < 0) return 0.0;
            const ptrdiff_t row = (ptrdiff_t)third * s.channels + from;
            return third_factor(s, third) * p.qkv_weight[row * s.channels + channel] *
                   p.norm1_weight[channel];
        },
        no_bias);
    pack_product(
        packed.proj,
        [&](int row, int depth) {
            const int channel = s.channel_of(row);
            return channel < 0 ? 0.0f : p.proj_weight[(ptrdiff_t)depth * s.channels + channel];
        },
        no_bias);
    pack_product(
        packed.fc1,
        [&](int channel, int depth) {
            return (double)p.fc1_weight[(ptrdiff_t)depth * s.channels + channel] * p.norm2_weight[channel];
        },
        no_bias);
    pack_product(
        packed.fc2, [&](int hidden, int depth) { return p.fc2_weight[(ptrdiff_t)depth * s.hidden + hidden]; },
        no_bias);
}

// Gradients of a product's weights, [rows, width]: `depth` columns of weights, then one of the bias.
struct WeightSums {
    int width;
    float* values;

    WeightSums(Parts& parts, int rows, int depth)
        : width(width_of(depth)), values(parts.take<float>((size_t)round_up(rows, BLOCK_ROWS) * width)) {}

    static int width_of(int depth) { return round_up(depth + 1, LANES); }
    const float* row(int index) const { return values + (ptrdiff_t)index * width; }
};

struct LayerSums {
    WeightSums qkv, proj, fc1, fc2;
    float* position_bias;  // [heads, keys, tokens]

    LayerSums(const Sizes& s, Parts& parts)
        : qkv(parts, 3 * s.rows, s.channels),
          proj(parts, s.channels, s.rows),
          fc1(parts, s.hidden, s.channels),
          fc2(parts, s.channels, s.hidden),
          position_bias(parts.take<float>((size_t)s.heads * s.keys * s.tokens)) {}
};

// The gradients of a linear layer's weights and bias (W, b) and of the norm's (scale, shift) in front of it from those
// of what was packed, W' = factor W scale and b' = factor (b + W shift): `sums` is a row of both.
void unpack_behind_norm(int channels, const float* sums, double factor, const float* weight,
                        const float* norm_scale, const float* norm_shift, float* grad_weight,
                        float* grad_bias, float* grad_scale, float* grad_shift) {
    const float f = (float)factor, of_bias = f * sums[channels];
    *grad_bias = of_bias;
    for (int c = 0; c < channels; c++) {
        grad_weight[c] = f * sums[c] * norm_scale[c] + of_bias * norm_shift[c];
        grad_scale[c] += f * sums[c] * weight[c];
        grad_shift[c] += of_bias * weight[c];
    }
}

void unpack_sums(const Sizes& s, const swinir_parameters& p, const LayerSums& sums,
                 const swinir_gradients& result) {
    for (int c = 0; c < s.channels; c++)
        result.norm1_weight[c] = result.norm1_bias[c] = result.norm2_weight[c] = result.norm2_bias[c] = 0;
    for (int row = 0; row < 3 * s.rows; row++) {
        const int third = row / s.rows, channel = s.channel_of(row % s.rows);
        if (channel < 0) continue;
        const ptrdiff_t to = (ptrdiff_t)third * s.channels + channel;
        unpack_behind_norm(s.channels, sums.qkv.row(row), third_factor(s, third),
                           p.qkv_weight + to * s.channels, p.norm1_weight, p.norm1_bias,
                           result.qkv_weight + to * s.channels, result.qkv_bias + to, result.norm1_weight,
                           result.norm1_bias);
    }
    for (int row = 0; row < s.hidden; row++) {
        const ptrdiff_t to = (ptrdiff_t)row * s.channels;
        unpack_behind_norm(s.channels, sums.fc1.row(row), 1.0, p.fc1_weight + to, p.norm2_weight,
                           p.norm2_bias, result.fc1_weight + to, result.fc1_bias + row, result.norm2_weight,
                           result.norm2_bias);
    }
    for (int row = 0; row < s.channels; row++) {
        const float* of_proj = sums.proj.row(row);
        for (int from = 0; from < s.rows; from++) {
            const int channel = s.channel_of(from);
            if (channel >= 0) result.proj_weight[(ptrdiff_t)row * s.channels + channel] = of_proj[from];
        }
        result.proj_bias[row] = of_proj[s.rows];
        const float* of_fc2 = sums.fc2.row(row);
        for (int i = 0; i < s.hidden; i++) result.fc2_weight[(ptrdiff_t)row * s.hidden + i] = of_fc2[i];
        result.fc2_bias[row] = of_fc2[s.hidden];
    }
    float* to = result.position_bias;
    for (int head = 0; head < s.heads; head++)
        for (int query = 0; query < s.num_tokens; query++)
            for (int key = 0; key < s.num_tokens; key++)
                *to++ = sums.position_bias[((ptrdiff_t)head * s.keys + key) * s.tokens + query];
}

}  // namespace
