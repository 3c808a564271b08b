#include <stdlib.h>

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
    {&swinir::kernel_portable,
#if defined(__x86_64__)
     [] { return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt"); }
#else
     [] { return true; }
#endif
    },
};
constexpr int32_t NUM_ISAS = sizeof(ISAS) / sizeof(ISAS[0]);

struct Free {
    void operator()(char* memory) const { free(memory); }
};
using Memory = std::unique_ptr<char, Free>;

Memory allocate(size_t num_bytes) {
    const size_t whole = (num_bytes + swinir::ALIGNMENT - 1) / swinir::ALIGNMENT * swinir::ALIGNMENT;
    return Memory(static_cast<char*>(aligned_alloc(swinir::ALIGNMENT, whole)));
}

bool is_possible(const swinir_geometry& g) {
    return g.num_heads >= 1 && g.channels >= g.num_heads && g.channels <= swinir::LARGEST_WIDTH &&
           g.channels % g.num_heads == 0 && g.window_size >= 1 && g.window_size <= swinir::LARGEST_WINDOW &&
           g.shift_size >= 0 && g.shift_size < g.window_size && g.hidden_channels >= 1 &&
           g.hidden_channels <= swinir::LARGEST_WIDTH;
}

}  // namespace

struct swinir_layer {
    const swinir::Kernel* kernel;
    swinir_geometry geometry;
    Memory packed;
};

namespace {

struct Run {
    const swinir_layer* layer;
    swinir::Stream stream;
    char* scratch;
    size_t scratch_bytes;
};

void run_windows(void* context, int thread, int64_t first, int64_t last) {
    const Run& run = *static_cast<const Run*>(context);
    char* scratch = run.scratch + static_cast<size_t>(thread) * run.scratch_bytes;
    run.layer->kernel->run(run.layer->geometry, run.layer->packed.get(), run.stream, first, last, scratch);
}

}  // namespace

int32_t swinir_abi(void) { return SWINIR_ABI; }

const char* swinir_isa_name(int32_t index) {
    return index >= 0 && index < NUM_ISAS ? ISAS[index].kernel->name : nullptr;
}

int32_t swinir_isa_runs_here(int32_t index) { return index >= 0 && index < NUM_ISAS && ISAS[index].runs_here(); }

int32_t swinir_isa_is_bf16(int32_t index) {
    return index >= 0 && index < NUM_ISAS && ISAS[index].kernel->is_bf16;
}

swinir_layer* swinir_layer_create(
    int32_t isa, const swinir_geometry* geometry, const swinir_parameters* parameters) {
    if (!swinir_isa_runs_here(isa) || !is_possible(*geometry)) return nullptr;
    const swinir::Kernel& kernel = *ISAS[isa].kernel;
    Memory packed = allocate(kernel.packed_bytes(*geometry));
    if (packed == nullptr) return nullptr;
    kernel.pack(*geometry, *parameters, packed.get());
    return new (std::nothrow) swinir_layer{&kernel, *geometry, std::move(packed)};
}

void swinir_layer_destroy(swinir_layer* layer) { delete layer; }

int32_t swinir_layer_run(
    const swinir_layer* layer,
    const float* x,
    float* y,
    int64_t batch,
    int64_t height,
    int64_t width,
    int32_t num_threads) {
    const int64_t window = layer->geometry.window_size;
    const int64_t num_windows = batch * (height / window) * (width / window);
    const size_t scratch_bytes = layer->kernel->scratch_bytes(layer->geometry);
    const Memory scratch = allocate(scratch_bytes * static_cast<size_t>(num_threads));
    if (scratch == nullptr) return 1;
    Run run{layer, {x, y, batch, height, width}, scratch.get(), scratch_bytes};
    swinir::parallel_for(num_windows, num_threads, run_windows, &run);
    return 0;
}
