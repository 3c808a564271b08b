#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <memory>
#include <new>
#include <utility>

#include "kernel.h"
#include "threads.h"

namespace {

struct Isa {
    const swinir::Kernel* kernel;
    bool (*runs_here)();
};

// The fastest first. What a name promises is what its flags in CMakeLists.txt let the compiler use.
const Isa ISAS[] = {
#if SWINIR_HAS_AVX512_BF16
    {&swinir::kernel_avx512_bf16,
     [] {
         return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("fma");
     }},
#endif
#if SWINIR_HAS_AVX512
    {&swinir::kernel_avx512,
     [] {
         return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                __builtin_cpu_supports("fma");
     }},
#endif
#if SWINIR_HAS_AVX2
    {&swinir::kernel_avx2, [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }},
#endif
#if SWINIR_HAS_PORTABLE_BF16
    {&swinir::kernel_portable_bf16, [] { return true; }},
#endif
#if SWINIR_HAS_PORTABLE
    {&swinir::kernel_portable,
#if defined(__x86_64__)
     [] { return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt"); }
#else
     [] { return true; }
#endif
    },
#endif
};
constexpr int32_t NUM_ISAS = sizeof(ISAS) / sizeof(ISAS[0]);

// Windows whose gradients of parameters are summed in one place, by one thread; and the most such places.
constexpr int64_t WINDOWS_OF_PART = 16;
constexpr int64_t MOST_PARTS = 64;
// Floats of sums that one thread adds at a time.
constexpr size_t SLICE = 4096;

struct Free {
    void operator()(char* memory) const { free(memory); }
};
using Memory = std::unique_ptr<char, Free>;

Memory allocate(size_t num_bytes) {
    const size_t whole = (num_bytes + swinir::ALIGNMENT - 1) / swinir::ALIGNMENT * swinir::ALIGNMENT;
    return Memory(static_cast<char*>(aligned_alloc(swinir::ALIGNMENT, whole)));
}

bool is_width(int32_t channels) { return channels >= 1 && channels <= swinir::LARGEST_WIDTH; }

bool is_possible(const swinir_geometry& g) {
    return is_width(g.channels) && is_width(g.hidden_channels) && g.num_heads >= 1 &&
           g.channels % g.num_heads == 0 && g.window_size >= 1 && g.window_size <= swinir::LARGEST_WINDOW &&
           g.shift_size >= 0 && g.shift_size < g.window_size;
}

bool is_possible(const swinir_convolution_sizes& s) {
    return is_width(s.in_channels) && is_width(s.out_channels) &&
           (s.kernel_size == 1 || s.kernel_size == 3) && s.slope >= 0 && s.slope <= 1;
}

// Run work(first, last, scratch) over all items on several threads, each with its own scratch memory; false without.
template <class Work>
bool spread(int64_t num_items, int32_t num_threads, size_t scratch_bytes, Work work) {
    const Memory scratch = allocate(scratch_bytes * static_cast<size_t>(num_threads));
    if (scratch == nullptr) return false;
    struct Context {
        Work& work;
        char* scratch;
        size_t scratch_bytes;
    } context{work, scratch.get(), scratch_bytes};
    swinir::parallel_for(
        num_items, num_threads,
        [](void* all, int thread, int64_t first, int64_t last) {
            const Context& context = *static_cast<const Context*>(all);
            context.work(first, last, context.scratch + static_cast<size_t>(thread) * context.scratch_bytes);
        },
        &context);
    return true;
}

int32_t run_packed(const swinir::LayerKernel& kernel, const swinir_geometry& geometry, const char* packed,
                   const swinir::Stream& stream, int32_t num_threads) {
    const int64_t window = geometry.window_size;
    const bool is_done =
        spread(stream.batch * (stream.height / window) * (stream.width / window), num_threads,
               kernel.scratch_bytes(geometry), [&](int64_t first, int64_t last, char* scratch) {
                   kernel.run(geometry, packed, stream, first, last, scratch);
               });
    return is_done ? 0 : 1;
}

// Add all parts to the first, always in their order.
void add_parts(float* parts, size_t size, int64_t num_parts, int32_t num_threads) {
    struct Context {
        float* parts;
        size_t size;
        int64_t num_parts;
    } context{parts, size, num_parts};
    swinir::parallel_for(
        static_cast<int64_t>((size + SLICE - 1) / SLICE), num_threads,
        [](void* all, int, int64_t first, int64_t last) {
            const Context& c = *static_cast<const Context*>(all);
            const size_t start = static_cast<size_t>(first) * SLICE;
            const size_t end = std::min(static_cast<size_t>(last) * SLICE, c.size);
            for (int64_t part = 1; part < c.num_parts; part++) {
                const float* from = c.parts + static_cast<size_t>(part) * c.size;
                for (size_t i = start; i < end; i++) c.parts[i] += from[i];
            }
        },
        &context);
}

}  // namespace

struct swinir_layer {
    const swinir::LayerKernel& kernel;
    swinir_geometry geometry;
    Memory packed;
};

struct swinir_convolution {
    const swinir::ConvolutionKernel& kernel;
    swinir_convolution_sizes sizes;
    Memory packed;
};

int32_t swinir_abi(void) { return SWINIR_ABI; }

const char* swinir_isa_name(int32_t index) {
    return index >= 0 && index < NUM_ISAS ? ISAS[index].kernel->name : nullptr;
}

int32_t swinir_isa_runs_here(int32_t index) {
    return index >= 0 && index < NUM_ISAS && ISAS[index].runs_here();
}

int32_t swinir_isa_is_bf16(int32_t index) {
    return index >= 0 && index < NUM_ISAS && ISAS[index].kernel->is_bf16;
}

swinir_layer* swinir_layer_create(int32_t isa, const swinir_geometry* geometry,
                                  const swinir_parameters* parameters) {
    if (!swinir_isa_runs_here(isa) || !is_possible(*geometry)) return nullptr;
    const swinir::LayerKernel& kernel = ISAS[isa].kernel->layer;
    Memory packed = allocate(kernel.packed_bytes(*geometry));
    if (packed == nullptr) return nullptr;
    kernel.pack(*geometry, *parameters, packed.get());
    return new (std::nothrow) swinir_layer{kernel, *geometry, std::move(packed)};
}

void swinir_layer_destroy(swinir_layer* layer) { delete layer; }

int32_t swinir_layer_run(const swinir_layer* layer, const float* x, float* y, int64_t batch, int64_t height,
                         int64_t width, int32_t num_threads) {
    return run_packed(layer->kernel, layer->geometry, layer->packed.get(), {x, y, batch, height, width},
                      num_threads);
}

int32_t swinir_layer_forward(int32_t isa, const swinir_geometry* geometry,
                             const swinir_parameters* parameters, const float* x, const float* branch_scales,
                             float* y, int64_t batch, int64_t height, int64_t width, int32_t num_threads) {
    if (!swinir_isa_runs_here(isa) || !is_possible(*geometry)) return 2;
    const swinir::LayerKernel& kernel = ISAS[isa].kernel->layer;
    const Memory packed = allocate(kernel.packed_bytes(*geometry));
    if (packed == nullptr) return 1;
    kernel.pack(*geometry, *parameters, packed.get());
    return run_packed(kernel, *geometry, packed.get(), {x, y, batch, height, width, branch_scales},
                      num_threads);
}

int32_t swinir_layer_backward(int32_t isa, const swinir_geometry* geometry,
                              const swinir_parameters* parameters, const float* x, const float* grad_y,
                              const float* branch_scales, float* grad_x, const swinir_gradients* gradients,
                              int64_t batch, int64_t height, int64_t width, int32_t num_threads) {
    if (!swinir_isa_runs_here(isa) || !is_possible(*geometry)) return 2;
    const swinir::BackwardKernel& kernel = ISAS[isa].kernel->backward;
    const Memory packed = allocate(kernel.packed_bytes(*geometry));
    const int64_t window = geometry->window_size;
    const int64_t num_windows = batch * (height / window) * (width / window);
    const int64_t num_parts = std::clamp<int64_t>(num_windows / WINDOWS_OF_PART, 1, MOST_PARTS);
    const size_t sums_bytes = kernel.sums_bytes(*geometry);
    const Memory sums = allocate(sums_bytes * static_cast<size_t>(num_parts));
    if (packed == nullptr || sums == nullptr) return 1;
    kernel.pack(*geometry, *parameters, packed.get());
    const swinir::Gradients backward{{x, grad_x, batch, height, width, branch_scales}, grad_y};
    const auto differentiate = [&](int64_t first, int64_t last, char* scratch) {
        for (int64_t part = first; part < last; part++) {
            char* own = sums.get() + static_cast<size_t>(part) * sums_bytes;
            memset(own, 0, sums_bytes);
            kernel.run(*geometry, packed.get(), backward, part * num_windows / num_parts,
                       (part + 1) * num_windows / num_parts, scratch, own);
        }
    };
    if (!spread(num_parts, num_threads, kernel.scratch_bytes(*geometry), differentiate)) return 1;
    add_parts(reinterpret_cast<float*>(sums.get()), sums_bytes / sizeof(float), num_parts, num_threads);
    kernel.unpack(*geometry, *parameters, sums.get(), *gradients);
    return 0;
}

swinir_convolution* swinir_convolution_create(int32_t isa, const swinir_convolution_sizes* sizes,
                                              const float* weight, const float* bias) {
    if (!swinir_isa_runs_here(isa) || !is_possible(*sizes)) return nullptr;
    const swinir::ConvolutionKernel& kernel = ISAS[isa].kernel->convolution;
    Memory packed = allocate(kernel.packed_bytes(*sizes));
    if (packed == nullptr) return nullptr;
    kernel.pack(*sizes, weight, bias, packed.get());
    return new (std::nothrow) swinir_convolution{kernel, *sizes, std::move(packed)};
}

void swinir_convolution_destroy(swinir_convolution* convolution) { delete convolution; }

int32_t swinir_convolution_run(const swinir_convolution* convolution, const float* x, const float* residual,
                               float* y, int64_t batch, int64_t height, int64_t width, int32_t num_threads) {
    const swinir::Stream stream{x, y, batch, height, width};
    const swinir::ConvolutionKernel& kernel = convolution->kernel;
    const bool is_done = spread(
        kernel.num_items(stream), num_threads, kernel.scratch_bytes(convolution->sizes),
        [&](int64_t first, int64_t last, char* scratch) {
            kernel.run(convolution->sizes, convolution->packed.get(), stream, residual, first, last, scratch);
        });
    return is_done ? 0 : 1;
}
