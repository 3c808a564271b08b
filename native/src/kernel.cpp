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
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
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

namespace {

// x += bias + weights x operand, in float32.
void add_product(const Sizes& s, const Packed& packed, const float* operand, float* x) {
    multiply_weights(packed.weights(), operand, s.tokens, [&](int row, int column, auto& sums) ALWAYS_INLINE {
        constexpr int COLUMNS = sizeof(sums[0]) / sizeof(sums[0][0]);
        float* to = x + (ptrdiff_t)row * s.tokens + column * LANES;
        UNROLL for (int r = 0; r < BLOCK_ROWS; r++)
            UNROLL for (int c = 0; c < COLUMNS; c++) {
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
        UNROLL for (int r = 0; r < BLOCK_ROWS; r++)
            UNROLL for (int c = 0; c < COLUMNS; c++)
                store_elements(values + (ptrdiff_t)(row + r) * s.tokens + (column + c) * LANES, sums[r][c]);
    });
}

void project_hidden(const Sizes& s, const Packed& packed, const float* operand, float* hidden) {
    multiply_weights(packed.weights(), operand, s.tokens, [&](int row, int column, auto& sums) ALWAYS_INLINE {
        constexpr int COLUMNS = sizeof(sums[0]) / sizeof(sums[0][0]);
        UNROLL for (int r = 0; r < BLOCK_ROWS; r++)
            UNROLL for (int c = 0; c < COLUMNS; c++) sums[r][c] = gelu(sums[r][c]);
        store_block(hidden, s.tokens, row, column, sums);
    });
}

void attend_window(const Sizes& s, const PackedLayer& layer, const swinir::Stream& stream, const Scratch& scratch) {
    for (int number = 0; number < s.heads; number++) {
        fetch(s, stream.x, scratch.next_place, number, s.heads);
        const ptrdiff_t operand_start = (ptrdiff_t)number * s.head_rows / GROUP * s.tokens;
        const ptrdiff_t start = (ptrdiff_t)number * s.head_rows * s.tokens;
        attend(s, {layer.position_bias + (ptrdiff_t)number * s.keys * s.tokens, scratch.queries + operand_start,
                   scratch.keys + operand_start, scratch.values + start,
                   scratch.place.has_regions ? scratch.place.regions : nullptr, scratch.probabilities,
                   scratch.operand + operand_start});
    }
}

void compute_window(const Sizes& s, const PackedLayer& layer, const swinir::Stream& stream, const Scratch& scratch) {
    gather(s, stream.x, scratch.place, scratch.x);
    normalize(scratch.x, s.channels, s.tokens, scratch.operand);
    product_as_operand(s, layer.query, scratch.operand, scratch.queries);
    product_as_operand(s, layer.key, scratch.operand, scratch.keys);
    project_values(s, layer.value, scratch.operand, scratch.values);
    attend_window(s, layer, stream, scratch);
    add_product(s, layer.proj, scratch.operand, scratch.x);
    normalize(scratch.x, s.channels, s.tokens, scratch.operand);
    project_hidden(s, layer.fc1, scratch.operand, scratch.hidden);
    add_product(s, layer.fc2, scratch.hidden, scratch.x);
    scatter(s, stream.y, scratch.place, scratch.x);
}

size_t packed_bytes(const swinir_geometry& geometry) {
    Parts parts(nullptr);
    PackedLayer(Sizes(geometry), parts);
    return parts.used();
}

size_t scratch_bytes(const swinir_geometry& geometry) {
    Parts parts(nullptr);
    Scratch(Sizes(geometry), parts);
    return parts.used();
}

void pack(const swinir_geometry& geometry, const swinir_parameters& parameters, char* memory) {
    const Sizes sizes(geometry);
    Parts parts(memory);
    pack_layer(sizes, parameters, PackedLayer(sizes, parts));
}

void run(const swinir_geometry& geometry, const char* packed, const swinir::Stream& stream, int64_t first,
         int64_t last, char* scratch_memory) {
    const Sizes s(geometry);
    Parts packed_parts(const_cast<char*>(packed));
    const PackedLayer layer(s, packed_parts);
    Parts scratch_parts(scratch_memory);
    Scratch scratch(s, scratch_parts);
    locate(s, stream, first, scratch.next_place);
    for (int64_t index = first; index < last; index++) {
        exchange(scratch.place, scratch.next_place);
        if (index + 1 < last) locate(s, stream, index + 1, scratch.next_place);
        compute_window(s, layer, stream, scratch);
    }
}

}  // namespace

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)

const swinir::Kernel swinir::JOIN(kernel_, SWINIR_ISA) = {TEXT(SWINIR_ISA), GROUP == 2, packed_bytes, scratch_bytes,
                                                          pack, run};
