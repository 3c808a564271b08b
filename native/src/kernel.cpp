// One fused Swin transformer layer, window by window; compiled once for each instruction set.
//
// A window's tokens lie in the lanes of vectors and its channels down the rows, from the gather to the scatter. Weights
// are the left factors of all products, so queries, keys, scores and values come out as the next product wants them.
// Everything of a window stays in the core's cache. No C++ library header is included: an inline function of one, compiled
// for the newest processors, could be the copy that the linker keeps for all of them.

#include "kernel.h"

#define INLINE static inline __attribute__((always_inline))
#define ALWAYS_INLINE __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL_FOR _Pragma("clang loop unroll(full)") for
#else
#define UNROLL_FOR _Pragma("GCC unroll 16") for
#endif

#if SWINIR_AVX512
#include "vector_avx512.h"
#elif SWINIR_AVX2
#include "vector_avx2.h"
#else
#include "vector_portable.h"
#endif
// In this order: each uses those before it.
#include "product.h"
#include "functions.h"
#include "layout.h"
#include "attention.h"
#include "packing.h"
#include "window.h"
#include "convolution.h"

namespace {

// x += bias + weights x operand, in float32.
void add_product(const Sizes& s, const Packed& packed, const float* operand, float* x) {
    multiply_weights(packed.weights(), operand, s.tokens, [&](int row, int column, auto& sums) ALWAYS_INLINE {
        constexpr int COLUMNS = sizeof(sums[0]) / sizeof(sums[0][0]);
        float* to = x + (ptrdiff_t)row * s.tokens + column * LANES;
        UNROLL_FOR (int r = 0; r < BLOCK_ROWS; r++)
            UNROLL_FOR (int c = 0; c < COLUMNS; c++) {
                float* place = to + r * s.tokens + c * LANES;
                store(place, add(load(place), sums[r][c]));
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
        attend(s, {layer.position_bias + (ptrdiff_t)number * s.keys * s.tokens,
                   scratch.queries + operand_start, scratch.keys + operand_start, scratch.values + start,
                   scratch.place.has_regions ? scratch.place.regions : nullptr, scratch.probabilities,
                   scratch.shares, scratch.operand + operand_start});
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
    add_product(s, layer.proj, scratch.operand, scratch.x);
    normalize(scratch.x, s.channels, s.tokens, scratch.operand);
    project_hidden(s, layer.fc1, stream, scratch);
    add_product(s, layer.fc2, scratch.hidden, scratch.x);
    scatter(s, stream.y, scratch.place, scratch.x);
}

// Where a packed layer or a strip's scratch lies in memory that was made for it, and how much it needs.
template <class Item, class Description>
Item laid_out(const Description& description, const char* memory) {
    Parts parts(const_cast<char*>(memory));
    return Item(description, parts);
}

template <class Item, class Description>
size_t bytes_of(const Description& description) {
    Parts parts(nullptr);
    Item item(description, parts);
    (void)item;
    return parts.used();
}

size_t layer_bytes(const swinir_geometry& geometry) { return bytes_of<PackedLayer>(Sizes(geometry)); }

size_t layer_scratch_bytes(const swinir_geometry& geometry) { return bytes_of<Scratch>(Sizes(geometry)); }

void pack_layer_into(const swinir_geometry& geometry, const swinir_parameters& parameters, char* packed) {
    const Sizes sizes(geometry);
    pack_layer(sizes, parameters, laid_out<PackedLayer>(sizes, packed));
}

void run_layer(const swinir_geometry& geometry, const char* packed, const swinir::Stream& stream,
               int64_t first, int64_t last, char* scratch_memory) {
    const Sizes s(geometry);
    const PackedLayer layer = laid_out<PackedLayer>(s, packed);
    Scratch scratch = laid_out<Scratch>(s, scratch_memory);
    locate(s, stream, first, scratch.next_place);
    for (int64_t index = first; index < last; index++) {
        exchange(scratch.place, scratch.next_place);
        // Behind the last one there is no other to fetch.
        locate(s, stream, index + 1 < last ? index + 1 : index, scratch.next_place);
        compute_window(s, layer, stream, scratch);
    }
}

size_t convolution_bytes(const swinir_convolution_sizes& sizes) { return bytes_of<PackedConvolution>(sizes); }

size_t convolution_scratch_bytes(const swinir_convolution_sizes& sizes) { return bytes_of<Strip>(sizes); }

void pack_convolution_into(const swinir_convolution_sizes& sizes, const float* weight, const float* bias,
                           char* packed) {
    pack_convolution(sizes, weight, bias, laid_out<PackedConvolution>(sizes, packed));
}

int64_t num_convolution_items(const swinir::Stream& stream) {
    return stream.batch * num_bands(stream) * num_strips(stream);
}

void run_convolution(const swinir_convolution_sizes& sizes, const char* packed, const swinir::Stream& stream,
                     const float* residual, int64_t first, int64_t last, char* scratch) {
    const PackedConvolution convolution = laid_out<PackedConvolution>(sizes, packed);
    const Strip strip = laid_out<Strip>(sizes, scratch);
    for (int64_t index = first; index < last; index++)
        convolve_item(sizes, convolution, stream, residual, index, strip);
}

}  // namespace

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)

const swinir::Kernel swinir::JOIN(kernel_, SWINIR_ISA) = {
    TEXT(SWINIR_ISA),
    GROUP == 2,
    {layer_bytes, layer_scratch_bytes, pack_layer_into, run_layer},
    {convolution_bytes, convolution_scratch_bytes, pack_convolution_into, num_convolution_items,
     run_convolution},
};
