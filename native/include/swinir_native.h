/* The fused Swin transformer layer for CPUs: plain C, so that any language can call it.
 *
 * A layer computes, on a residual stream x of float32 [batch, height, width, channels],
 *
 *     x + proj(attention(norm1(x)))   and of that   x + fc2(gelu(fc1(norm2(x))))
 *
 * within windows of window_size x window_size pixels of the image shifted cyclically by shift_size (Liu et al. 2021,
 * section 3.2; Liang et al. 2021, equations 1 and 2). Nothing here throws, prints, or keeps state but a pool of threads.
 */
#ifndef SWINIR_NATIVE_H
#define SWINIR_NATIVE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SWINIR_API __attribute__((visibility("default")))

/* Raised with every change of this file. */
#define SWINIR_ABI 3

/* channels is a multiple of num_heads; shift_size is below window_size; all but shift_size are at least 1. */
typedef struct {
    int32_t channels;
    int32_t num_heads;
    int32_t window_size;
    int32_t shift_size;
    int32_t hidden_channels;
} swinir_geometry;

/* Float32, contiguous, row by row; n is window_size squared. They are read while a function runs, never later. */
typedef struct {
    const float* norm1_weight;  /* [channels] */
    const float* norm1_bias;    /* [channels] */
    const float* qkv_weight;    /* [3 channels, channels] */
    const float* qkv_bias;      /* [3 channels] */
    const float* position_bias; /* [num_heads, n, n]: query, key */
    const float* proj_weight;   /* [channels, channels] */
    const float* proj_bias;     /* [channels] */
    const float* norm2_weight;  /* [channels] */
    const float* norm2_bias;    /* [channels] */
    const float* fc1_weight;    /* [hidden, channels] */
    const float* fc1_bias;      /* [hidden] */
    const float* fc2_weight;    /* [channels, hidden] */
    const float* fc2_bias;      /* [channels] */
} swinir_parameters;

/* Where the gradients of a layer's parameters go, each of its parameter's shape. */
typedef struct {
    float* norm1_weight;
    float* norm1_bias;
    float* qkv_weight;
    float* qkv_bias;
    float* position_bias;
    float* proj_weight;
    float* proj_bias;
    float* norm2_weight;
    float* norm2_bias;
    float* fc1_weight;
    float* fc1_bias;
    float* fc2_weight;
    float* fc2_bias;
} swinir_gradients;

/* A convolution that keeps the size of the image, zeros around it, and a leaky ReLU behind it. */
typedef struct {
    int32_t in_channels;
    int32_t out_channels;
    int32_t kernel_size; /* 1 or 3 */
    float slope;         /* what values below 0 are multiplied by, 0 to 1; 1 leaves them as they are */
} swinir_convolution_sizes;

typedef struct swinir_layer swinir_layer;
typedef struct swinir_convolution swinir_convolution;

SWINIR_API int32_t swinir_abi(void);

/* Name of an instruction set that this library was built with, the fastest first; NULL behind the last. */
SWINIR_API const char* swinir_isa_name(int32_t index);

/* 1 where this processor and its operating system can run that instruction set, else 0. */
SWINIR_API int32_t swinir_isa_runs_here(int32_t index);

/* 1 where products of that instruction set are bfloat16 (sums float32), 0 where they are float32. */
SWINIR_API int32_t swinir_isa_is_bf16(int32_t index);

/* Pack a layer for an instruction set that runs here; NULL without memory or with an impossible geometry. */
SWINIR_API swinir_layer* swinir_layer_create(int32_t isa, const swinir_geometry* geometry,
                                             const swinir_parameters* parameters);

SWINIR_API void swinir_layer_destroy(swinir_layer* layer);

/* Compute y from x, both [batch, height, width, channels], height and width multiples of the window; y may be x.
 * The bits of y do not depend on num_threads (at least 1). Any number of threads may call this at once.
 * Returns 0, or 1 where scratch memory could not be had: y is then untouched. */
SWINIR_API int32_t swinir_layer_run(const swinir_layer* layer, const float* x, float* y, int64_t batch,
                                    int64_t height, int64_t width, int32_t num_threads);

/* The same for a layer that is used once, as in training: y is not x, and branch_scales, [batch, 2], multiply what
 * attention and MLP add to each image (stochastic depth); NULL: by 1. Returns 0; 1 where memory could not be had, 2 for
 * an instruction set or geometry that cannot be. */
SWINIR_API int32_t swinir_layer_forward(int32_t isa, const swinir_geometry* geometry,
                                        const swinir_parameters* parameters, const float* x,
                                        const float* branch_scales, float* y, int64_t batch, int64_t height,
                                        int64_t width, int32_t num_threads);

/* Compute the gradients of a loss by x and by the parameters of a layer from that by its result, grad_y; x, grad_y and
 * grad_x are [batch, height, width, channels], grad_x neither of the others. What lies between is computed again from
 * x, which is all that a forward pass has to keep. Gradients of parameters are overwritten. No bit depends on
 * num_threads. Returns 0; 1 where memory could not be had, 2 for an instruction set or geometry that cannot be. */
SWINIR_API int32_t swinir_layer_backward(int32_t isa, const swinir_geometry* geometry,
                                         const swinir_parameters* parameters, const float* x,
                                         const float* grad_y, const float* branch_scales, float* grad_x,
                                         const swinir_gradients* gradients, int64_t batch, int64_t height,
                                         int64_t width, int32_t num_threads);

/* weight is [out_channels, in_channels, kernel_size, kernel_size], bias [out_channels]; read now, never later. */
SWINIR_API swinir_convolution* swinir_convolution_create(int32_t isa, const swinir_convolution_sizes* sizes,
                                                         const float* weight, const float* bias);

SWINIR_API void swinir_convolution_destroy(swinir_convolution* convolution);

/* Compute y = residual + convolution of x; x is [batch, height, width, in_channels], y and residual have out_channels.
 * residual may be NULL, which adds nothing, or y itself; x may be neither. Otherwise as swinir_layer_run. */
SWINIR_API int32_t swinir_convolution_run(const swinir_convolution* convolution, const float* x,
                                          const float* residual, float* y, int64_t batch, int64_t height,
                                          int64_t width, int32_t num_threads);

#ifdef __cplusplus
}
#endif

#endif
