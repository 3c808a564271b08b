// Windows of the cyclically shifted image: where their pixels are, and how they come and go.

namespace {

// The largest window that the library accepts has sides of this.
constexpr int LARGEST_WINDOW = swinir::LARGEST_WINDOW;

// Positions along one side of the image of a window's pixels: the window begins at `first` of the shifted image.
void positions_along(int64_t first, int64_t side, const Sizes& s, int64_t (&positions)[LARGEST_WINDOW]) {
    for (int i = 0; i < s.window; i++) {
        const int64_t shifted = first + i + s.shift;
        positions[i] = shifted < side ? shifted : shifted - side;
    }
}

// Find the pixels of window `index`.
void locate(const Sizes& s, const swinir::Stream& stream, int64_t index, Place& place) {
    const int64_t rows = stream.height / s.window, columns = stream.width / s.window;
    const int64_t image = index / (rows * columns), row = index / columns % rows, column = index % columns;
    int64_t ys[LARGEST_WINDOW], xs[LARGEST_WINDOW];
    place.image = image;
    positions_along(row * s.window, stream.height, s, ys);
    positions_along(column * s.window, stream.width, s, xs);
    for (int y = 0; y < s.window; y++) {
        const int64_t line = (image * stream.height + ys[y]) * stream.width;
        for (int x = 0; x < s.window; x++) place.offsets[y * s.window + x] = (line + xs[x]) * s.channels;
    }
    // Padding repeats the last token: it is computed and thrown away.
    for (int token = s.num_tokens; token < s.tokens; token++)
        place.offsets[token] = place.offsets[s.num_tokens - 1];

    // Only windows at the end hold pixels from opposite sides of the image.
    const int first_below = row == rows - 1 ? s.window - s.shift : s.window;
    const int first_right = column == columns - 1 ? s.window - s.shift : s.window;
    place.has_regions = first_below < s.window || first_right < s.window;
    if (!place.has_regions) return;
    for (int y = 0; y < s.window; y++)
        for (int x = 0; x < s.window; x++)
            place.regions[y * s.window + x] = 2 * (y >= first_below) + (x >= first_right);
    for (int token = s.num_tokens; token < s.tokens; token++)
        place.regions[token] = place.regions[s.num_tokens - 1];
}

// What attention (branch 0) or MLP (branch 1) adds is multiplied by this.
float branch_scale(const swinir::Stream& stream, const Place& place, int branch) {
    return stream.branch_scales == nullptr ? 1.0f : stream.branch_scales[2 * place.image + branch];
}

void exchange(Place& a, Place& b) {
    const Place kept = a;
    a = b;
    b = kept;
}

// Have the cache fetch one of `parts` parts of a window that is read or written soon: its rows are too short and too far
// apart for the processor to foresee.
INLINE void fetch(const Sizes& s, const float* image, const Place& place, int part, int parts) {
    for (int token = s.num_tokens * part / parts; token < s.num_tokens * (part + 1) / parts; token++)
        fetch_floats(image + place.offsets[token], s.channels);
}

// Read the tokens' pixels as [channels, tokens].
void gather(const Sizes& s, const float* image, const Place& place, float* x) {
    for (int token = 0; token < s.tokens; token += LANES) {
        for (int channel = 0; channel < s.channels; channel += LANES) {
            const int count = s.channels - channel < LANES ? s.channels - channel : LANES;
            Vector rows[LANES];
            for (int i = 0; i < LANES; i++) {
                const float* pixel = image + place.offsets[token + i] + channel;
                rows[i] = count == LANES ? load_any(pixel) : load_first(pixel, count);
            }
            transpose(rows);
            float* to = x + (ptrdiff_t)channel * s.tokens + token;
            for (int i = 0; i < count; i++) store(to + (ptrdiff_t)i * s.tokens, rows[i]);
        }
    }
}

// Write [channels, tokens] to the tokens' pixels.
void scatter(const Sizes& s, float* image, const Place& place, const float* x) {
    for (int token = 0; token < s.num_tokens; token += LANES) {
        const int num_tokens = s.num_tokens - token < LANES ? s.num_tokens - token : LANES;
        for (int channel = 0; channel < s.channels; channel += LANES) {
            const int count = s.channels - channel < LANES ? s.channels - channel : LANES;
            const float* from = x + (ptrdiff_t)channel * s.tokens + token;
            Vector rows[LANES];
            for (int i = 0; i < LANES; i++)
                rows[i] = i < count ? load(from + (ptrdiff_t)i * s.tokens) : zero();
            transpose(rows);
            for (int i = 0; i < num_tokens; i++) {
                float* pixel = image + place.offsets[token + i] + channel;
                if (count == LANES) {
                    store_any(pixel, rows[i]);
                } else {
                    store_first(pixel, rows[i], count);
                }
            }
        }
    }
}

}  // namespace
