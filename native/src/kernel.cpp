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
#include "forward.h"
#include "gradients.h"
#include "backward.h"

namespace {

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
    if (first == last) return;
    locate(s, stream, first, scratch.next_place);
    for (int64_t index = first; index < last; index++) {
        exchange(scratch.place, scratch.next_place);
        // Behind the last one there is no other to fetch.
        locate(s, stream, index + 1 < last ? index + 1 : index, scratch.next_place);
        compute_window(s, layer, stream, scratch);
    }
}

size_t backward_bytes(const swinir_geometry& geometry) { return bytes_of<PackedBackward>(Sizes(geometry)); }

size_t backward_scratch_bytes(const swinir_geometry& geometry) {
    return bytes_of<BackwardScratch>(Sizes(geometry));
}

size_t sums_bytes(const swinir_geometry& geometry) { return bytes_of<LayerSums>(Sizes(geometry)); }

void pack_backward_into(const swinir_geometry& geometry, const swinir_parameters& parameters, char* packed) {
    const Sizes sizes(geometry);
    pack_backward(sizes, parameters, laid_out<PackedBackward>(sizes, packed));
}

void run_backward(const swinir_geometry& geometry, const char* packed, const swinir::Gradients& gradients,
                  int64_t first, int64_t last, char* scratch_memory, char* sums_memory) {
    const Sizes s(geometry);
    const PackedBackward layer = laid_out<PackedBackward>(s, packed);
    BackwardScratch scratch = laid_out<BackwardScratch>(s, scratch_memory);
    const LayerSums sums = laid_out<LayerSums>(s, sums_memory);
    clear_padding(s, scratch);
    if (first == last) return;
    locate(s, gradients.stream, first, scratch.next_place);
    for (int64_t index = first; index < last; index++) {
        exchange(scratch.place, scratch.next_place);
        // Behind the last one there is no other to fetch.
        locate(s, gradients.stream, index + 1 < last ? index + 1 : index, scratch.next_place);
        differentiate_window(s, layer, gradients, scratch, sums);
    }
}

void unpack_gradients(const swinir_geometry& geometry, const swinir_parameters& parameters, const char* sums,
                      const swinir_gradients& result) {
    const Sizes s(geometry);
    unpack_sums(s, parameters, laid_out<LayerSums>(s, sums), result);
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
    {backward_bytes, backward_scratch_bytes, sums_bytes, pack_backward_into, run_backward, unpack_gradients},
    {convolution_bytes, convolution_scratch_bytes, pack_convolution_into, num_convolution_items,
     run_convolution},
};
