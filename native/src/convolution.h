// A convolution of 1x1 or 3x3 taps on a channels-last image, zeros around it, plus what it is added to.
//
// It goes down strips of the image row by row. Three rows of a strip wait in the cache with their pixels in the lanes, so
// that a tap is nothing but an address, and every product is that of product.h.

namespace {

// Pixels of a strip, and rows that one item of work computes before it moves elsewhere.
constexpr int STRIP = 64;
constexpr int BAND = 16;

struct PackedConvolution {
    float* bias;
    float* blocks;  // [blocks of rows, taps, steps, BLOCK_ROWS]

    PackedConvolution(const swinir_convolution_sizes& s, Parts& parts)
        : bias(parts.take<float>((size_t)num_blocks(s) * BLOCK_ROWS)),
          blocks(parts.take<float>((size_t)num_blocks(s) * num_taps(s) * num_steps(s) * BLOCK_ROWS)) {}

    static int num_blocks(const swinir_convolution_sizes& s) {
        return round_up(s.out_channels, BLOCK_ROWS) / BLOCK_ROWS;
    }
    static int num_steps(const swinir_convolution_sizes& s) { return round_up(s.in_channels, GROUP) / GROUP; }
    static int num_taps(const swinir_convolution_sizes& s) { return s.kernel_size * s.kernel_size; }
};

// Rows of a strip as operands [in_channels, STRIP and what the taps reach beyond it], one after the other in a ring, and
// a row of results [out_channels, STRIP].
struct Strip {
    int stride;
    float* ring;
    float* results;
    ptrdiff_t row_size;

    Strip(const swinir_convolution_sizes& s, Parts& parts)
        : stride(round_up(STRIP + s.kernel_size - 1, LANES)),
          ring(parts.take<float>((size_t)s.kernel_size * PackedConvolution::num_steps(s) * stride)),
          results(parts.take<float>((size_t)PackedConvolution::num_blocks(s) * BLOCK_ROWS * STRIP)),
          row_size((ptrdiff_t)PackedConvolution::num_steps(s) * stride) {}

    // Row `y` of the image, the one above it being -1.
    float* row(const swinir_convolution_sizes& s, int64_t y) const {
        return ring + (y + s.kernel_size) % s.kernel_size * row_size;
    }
};

void pack_convolution(const swinir_convolution_sizes& s, const float* weight, const float* bias,
                      const PackedConvolution& packed) {
    const int taps = PackedConvolution::num_taps(s), steps = PackedConvolution::num_steps(s);
    char* place = reinterpret_cast<char*>(packed.blocks);
    for (int block = 0; block < PackedConvolution::num_blocks(s); block++) {
        for (int r = 0; r < BLOCK_ROWS; r++) {
            const int row = block * BLOCK_ROWS + r;
            packed.bias[row] = row < s.out_channels ? bias[row] : 0.0f;
        }
        for (int tap = 0; tap < taps; tap++)
            for (int step = 0; step < steps; step++)
                for (int r = 0; r < BLOCK_ROWS; r++)
                    for (int g = 0; g < GROUP; g++) {
                        const int row = block * BLOCK_ROWS + r, channel = step * GROUP + g;
                        const bool is_real = row < s.out_channels && channel < s.in_channels;
                        const ptrdiff_t from = ((ptrdiff_t)row * s.in_channels + channel) * taps + tap;
                        const Element element = as_element(is_real ? weight[from] : 0.0f);
                        __builtin_memcpy(place, &element, sizeof(element));
                        place += sizeof(element);
                    }
    }
}

// Bring a row of the image into the ring, from column `left` on; outside the image there are zeros.
void read_row(const swinir_convolution_sizes& s, const swinir::Stream& stream, int64_t image, int64_t y,
              int64_t left, const Strip& strip) {
    float* operand = strip.row(s, y);
    const bool is_inside = y >= 0 && y < stream.height;
    const float* line =
        stream.x + (image * stream.height + (is_inside ? y : 0)) * stream.width * s.in_channels;
    for (int pixel = 0; pixel < strip.stride; pixel += LANES) {
        for (int channel = 0; channel < s.in_channels; channel += LANES) {
            const int count = s.in_channels - channel < LANES ? s.in_channels - channel : LANES;
            Vector rows[LANES];
            for (int i = 0; i < LANES; i++) {
                const int64_t x = left + pixel + i;
                rows[i] = zero();
                if (!is_inside || x < 0 || x >= stream.width) continue;
                const float* from = line + x * s.in_channels + channel;
                rows[i] = count == LANES ? load_any(from) : load_first(from, count);
            }
            transpose(rows);
            for (int i = 0; i < count; i += 2)
                if (GROUP == 2 || i + 1 < count) {
                    store_rows(operand, strip.stride, channel + i, pixel / LANES, rows[i], rows[i + 1]);
                } else {
                    store(operand + (ptrdiff_t)(channel + i) * strip.stride + pixel, rows[i]);
                }
        }
    }
}

// One row of results, [out_channels, STRIP], of which `width` pixels are wanted.
void convolve_row(const swinir_convolution_sizes& s, const PackedConvolution& packed, int64_t y, int width,
                  const Strip& strip) {
    const int steps = PackedConvolution::num_steps(s), radius = s.kernel_size / 2;
    const float* left = packed.blocks;
    const Vector slope = splat(s.slope);
    for (int block = 0; block < PackedConvolution::num_blocks(s); block++) {
        const float* bias = packed.bias + block * BLOCK_ROWS;
        for_columns((width + LANES - 1) / LANES, [&](int column, auto columns) ALWAYS_INLINE {
            constexpr int COLUMNS = decltype(columns)::value;
            Block<BLOCK_ROWS, COLUMNS> sums;
            UNROLL_FOR (int r = 0; r < BLOCK_ROWS; r++) {
                const Vector start = splat(bias[r]);
                UNROLL_FOR (int c = 0; c < COLUMNS; c++) sums[r][c] = start;
            }
            const float* weights = left;
            for (int dy = -radius; dy <= radius; dy++)
                for (int dx = 0; dx < s.kernel_size; dx++, weights += (ptrdiff_t)steps * BLOCK_ROWS)
                    accumulate<BLOCK_ROWS, COLUMNS>(sums, weights, 1, BLOCK_ROWS,
                                                    strip.row(s, y + dy) + dx + column * LANES, strip.stride,
                                                    steps);
            float* to = strip.results + (ptrdiff_t)block * BLOCK_ROWS * STRIP + column * LANES;
            UNROLL_FOR (int r = 0; r < BLOCK_ROWS; r++)
                UNROLL_FOR (int c = 0; c < COLUMNS; c++) {
                    const Vector v = sums[r][c];
                    store(to + r * STRIP + c * LANES, larger(multiply(v, slope), v));
                }
        });
        left += (ptrdiff_t)PackedConvolution::num_taps(s) * steps * BLOCK_ROWS;
    }
}

// Write a row of results, plus `residual` unless it is nullptr, to pixels that follow each other.
void write_row(const swinir_convolution_sizes& s, const float* results, const float* residual, float* y,
               int width) {
    for (int pixel = 0; pixel < width; pixel += LANES) {
        const int num_pixels = width - pixel < LANES ? width - pixel : LANES;
        for (int channel = 0; channel < s.out_channels; channel += LANES) {
            const int count = s.out_channels - channel < LANES ? s.out_channels - channel : LANES;
            Vector rows[LANES];
            for (int i = 0; i < LANES; i++)
                rows[i] = i < count ? load(results + (ptrdiff_t)(channel + i) * STRIP + pixel) : zero();
            transpose(rows);
            for (int i = 0; i < num_pixels; i++) {
                const ptrdiff_t at = (ptrdiff_t)(pixel + i) * s.out_channels + channel;
                if (count == LANES) {
                    store_any(y + at, residual == nullptr ? rows[i] : add(rows[i], load_any(residual + at)));
                } else {
                    store_first(
                        y + at,
                        residual == nullptr ? rows[i] : add(rows[i], load_first(residual + at, count)),
                        count);
                }
            }
        }
    }
}

int64_t num_strips(const swinir::Stream& stream) { return (stream.width + STRIP - 1) / STRIP; }
int64_t num_bands(const swinir::Stream& stream) { return (stream.height + BAND - 1) / BAND; }

// Compute item `index` of all bands of all strips of all images.
void convolve_item(const swinir_convolution_sizes& s, const PackedConvolution& packed,
                   const swinir::Stream& stream, const float* residual, int64_t index, const Strip& strip) {
    const int64_t strips = num_strips(stream), bands = num_bands(stream);
    const int64_t image = index / (strips * bands), left = index % strips * STRIP;
    const int64_t top = index / strips % bands * BAND;
    const int64_t bottom = top + BAND < stream.height ? top + BAND : stream.height;
    const int width = (int)(stream.width - left < STRIP ? stream.width - left : STRIP);
    const int radius = s.kernel_size / 2;
    for (int64_t y = top - radius; y < top + radius; y++) read_row(s, stream, image, y, left - radius, strip);
    for (int64_t y = top; y < bottom; y++) {
        read_row(s, stream, image, y + radius, left - radius, strip);
        // What is read next arrives while this row is computed.
        const int64_t pixel = (image * stream.height + y) * stream.width + left;
        const int64_t at = pixel * s.out_channels;
        if (y + radius + 1 < stream.height)
            fetch_floats(stream.x + (pixel + (radius + 1) * stream.width) * s.in_channels,
                         (int64_t)width * s.in_channels);
        if (residual != nullptr) fetch_floats(residual + at, (int64_t)width * s.out_channels);
        convolve_row(s, packed, y, width, strip);
        write_row(s, strip.results, residual == nullptr ? nullptr : residual + at, stream.y + at, width);
    }
}

}  // namespace
