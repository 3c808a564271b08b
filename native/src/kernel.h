// What a kernel, compiled for one instruction set, offers to the rest of the library.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "swinir_native.h"

namespace swinir {

// An image and where its result goes; windows are counted row by row, image after image.
struct Stream {
    const float* x;
    float* y;
    int64_t batch;
    int64_t height;
    int64_t width;
    // What attention and MLP add to each image is multiplied by, [batch, 2], or nullptr: by 1.
    const float* branch_scales = nullptr;
};

// A backward pass: `stream.x` is what the layer was given, `stream.y` where the gradient of it goes.
struct Gradients {
    Stream stream;
    const float* grad_y;
};

// All memory of packed parameters and of scratch is aligned to ALIGNMENT; scratch is one thread's.
struct LayerKernel {
    size_t (*packed_bytes)(const swinir_geometry& geometry);
    size_t (*scratch_bytes)(const swinir_geometry& geometry);
    void (*pack)(const swinir_geometry& geometry, const swinir_parameters& parameters, char* packed);
    // Compute windows first to last (exclusive).
    void (*run)(const swinir_geometry& geometry, const char* packed, const Stream& stream, int64_t first,
                int64_t last, char* scratch);
};

// The gradients of a layer. Those of parameters are summed over windows, in the kernel's own order, in `sums`.
struct BackwardKernel {
    size_t (*packed_bytes)(const swinir_geometry& geometry);
    size_t (*scratch_bytes)(const swinir_geometry& geometry);
    size_t (*sums_bytes)(const swinir_geometry& geometry);
    void (*pack)(const swinir_geometry& geometry, const swinir_parameters& parameters, char* packed);
    // Compute windows first to last (exclusive) and add to sums, which are zeros before the first of them.
    void (*run)(const swinir_geometry& geometry, const char* packed, const Gradients& gradients,
                int64_t first, int64_t last, char* scratch, char* sums);
    void (*unpack)(const swinir_geometry& geometry, const swinir_parameters& parameters, const char* sums,
                   const swinir_gradients& result);
};

struct ConvolutionKernel {
    size_t (*packed_bytes)(const swinir_convolution_sizes& sizes);
    size_t (*scratch_bytes)(const swinir_convolution_sizes& sizes);
    void (*pack)(const swinir_convolution_sizes& sizes, const float* weight, const float* bias, char* packed);
    int64_t (*num_items)(const Stream& stream);
    // Compute items first to last (exclusive).
    void (*run)(const swinir_convolution_sizes& sizes, const char* packed, const Stream& stream,
                const float* residual, int64_t first, int64_t last, char* scratch);
};

struct Kernel {
    const char* name;
    bool is_bf16;
    LayerKernel layer;
    BackwardKernel backward;
    ConvolutionKernel convolution;
};

constexpr size_t ALIGNMENT = 64;

// Larger windows and layers than any network's would overflow sizes counted in int.
constexpr int LARGEST_WINDOW = 64;
constexpr int LARGEST_WIDTH = 1 << 14;

// Defined by kernel.cpp, once for each instruction set that the build found the compiler to know.
extern const Kernel kernel_avx512_bf16;
extern const Kernel kernel_avx512;
extern const Kernel kernel_avx2;
extern const Kernel kernel_portable;
extern const Kernel kernel_portable_bf16;  // emulated, for tests

}  // namespace swinir
