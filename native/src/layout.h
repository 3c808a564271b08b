// Where everything of a layer lies: its sizes after padding, the packed weights, the scratch memory of a window.

namespace {

// Keys that are scored at once.
constexpr int BLOCK_KEYS = 4;

struct Sizes {
    int channels;
    int heads;
    int window;
    int shift;
    int hidden;
    int num_tokens;  // of a window
    int tokens;      // the same in whole vectors
    int keys;        // the same in whole blocks of keys
    int head_dim;
    int head_rows;  // head_dim made even
    int rows;       // of queries, keys or values: those of all heads

    explicit Sizes(const swinir_geometry& geometry)
        : channels(geometry.channels),
          heads(geometry.num_heads),
          window(geometry.window_size),
          shift(geometry.shift_size),
          hidden(geometry.hidden_channels),
          num_tokens(window * window),
          tokens(round_up(num_tokens, LANES)),
          keys(round_up(num_tokens, BLOCK_KEYS)),
          head_dim(channels / heads),
          head_rows(round_up(head_dim, 2)),
          rows(heads * head_rows) {}

    // Channel of the network that a row of all heads is, or -1 where a head was padded.
    int channel_of(int row) const {
        if (head_rows == head_dim) return row;
        const int head = row / head_rows, i = row % head_rows;
        return i < head_dim ? head * head_dim + i : -1;
    }
};

// Hands out parts of one block of memory; run once with nullptr, it measures how large that block must be.
class Parts {
   public:
    explicit Parts(char* memory) : start_((uintptr_t)memory), next_(start_) {}

    template <class Item>
    Item* take(size_t count) {
        const uintptr_t part = next_;
        next_ += (count * sizeof(Item) + swinir::ALIGNMENT - 1) / swinir::ALIGNMENT * swinir::ALIGNMENT;
        return reinterpret_cast<Item*>(part);
    }
    size_t used() const { return next_ - start_; }

   private:
    uintptr_t start_;
    uintptr_t next_;
};

// A product's packed weights: `rows` outputs from `depth` inputs.
struct Packed {
    float* bias;
    float* blocks;
    int rows;
    int depth;

    Packed(Parts& parts, int rows, int depth)
        : bias(parts.take<float>(num_blocks(rows) * BLOCK_ROWS)),
          blocks(parts.take<float>(num_blocks(rows) * BLOCK_ROWS * num_steps(depth))),
          rows(rows),
          depth(depth) {}

    static size_t num_blocks(int rows) { return (size_t)(round_up(rows, BLOCK_ROWS) / BLOCK_ROWS); }
    static size_t num_steps(int depth) { return (size_t)(round_up(depth, GROUP) / GROUP); }
    Weights weights() const { return {bias, blocks, (int)num_blocks(rows), (int)num_steps(depth)}; }
};

struct PackedLayer {
    Packed query, key, value, proj, fc1, fc2;
    float* position_bias;  // [heads, keys, tokens], in powers of two

    PackedLayer(const Sizes& s, Parts& parts)
        : query(parts, s.rows, s.channels),
          key(parts, s.rows, s.channels),
          value(parts, s.rows, s.channels),
          proj(parts, s.channels, s.rows),
          fc1(parts, s.hidden, s.channels),
          fc2(parts, s.channels, s.hidden),
          position_bias(parts.take<float>((size_t)s.heads * s.keys * s.tokens)) {}
};

// Where the tokens of a window are.
struct Place {
    int64_t* offsets;  // [tokens], of each token's pixel in the image, in floats
    int32_t* regions;  // [tokens], of the shifted image: those of different regions do not see each other
    bool has_regions = false;  // more than one
    int64_t image = 0;         // of the batch

    Place(const Sizes& s, Parts& parts)
        : offsets(parts.take<int64_t>(s.tokens)), regions(parts.take<int32_t>(s.tokens)) {}
};

// What one window needs while it is computed; rows are written in blocks, so there is room for whole ones.
struct Scratch {
    float* x;              // [channels, tokens], the residual stream
    float* operand;        // of the product that comes next: normed stream, or attended values
    float* queries;        // operand [rows, tokens]
    float* keys;           // operand [rows, tokens]
    Element* values;       // [rows, tokens]
    float* probabilities;  // operand [keys, tokens], of one head and not yet divided by their sums
    float* shares;         // [tokens], one over those sums
    float* hidden;         // operand [hidden, tokens]
    Place place;           // of the window
    Place next_place;      // of the window after it, whose pixels are fetched meanwhile

    Scratch(const Sizes& s, Parts& parts)
        : x(parts.take<float>(area(s, s.channels))),
          operand(parts.take<float>(operand_area(s, s.channels > s.rows ? s.channels : s.rows))),
          queries(parts.take<float>(operand_area(s, s.rows))),
          keys(parts.take<float>(operand_area(s, s.rows))),
          values(parts.take<Element>(area(s, s.rows))),
          probabilities(parts.take<float>(operand_area(s, s.keys))),
          shares(parts.take<float>(s.tokens)),
          hidden(parts.take<float>(operand_area(s, s.hidden))),
          place(s, parts),
          next_place(s, parts) {}

    static size_t area(const Sizes& s, int rows) { return (size_t)round_up(rows, BLOCK_ROWS) * s.tokens; }
    static size_t operand_area(const Sizes& s, int rows) { return area(s, rows) / GROUP; }
};

// Have the cache fetch what will be read or written soon.
INLINE void fetch_floats(const float* from, int64_t count) {
    constexpr int64_t FLOATS_OF_LINE = (int64_t)(swinir::ALIGNMENT / sizeof(float));
    for (int64_t i = 0; i < count; i += FLOATS_OF_LINE) __builtin_prefetch(from + i, 0, 2);
}

}  // namespace
