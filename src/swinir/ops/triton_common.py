"""What the Triton kernels of training and inference share: block sizes, products, GELU, addresses of windows."""

# Triton's language is not Python to a type checker: parameters are pointers and numbers, constants are annotated.
# pyright: basic, reportMissingParameterType=false, reportUntypedFunctionDecorator=false
# pyright: reportArgumentType=false, reportOperatorIssue=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportIndexIssue=false, reportGeneralTypeIssues=false, reportUnannotatedClassAttribute=false
# ruff: noqa: ANN001, ANN201, N803

import triton
import triton.language as tl

# The published score of tokens that a shift brought together (see ops.windows.MASKED_SCORE).
MASKED = tl.constexpr(-100.0)
NORM_EPSILON = tl.constexpr(1e-5)
# Smallest side of a matrix product in Triton.
SMALLEST_BLOCK = 16


def block_size(size: int) -> int:
    """Round up to a power of two that a matrix product can have."""
    return max(1 << (size - 1).bit_length(), SMALLEST_BLOCK)


@triton.jit
def dot(a, b):
    """Multiply matrices; factors of 32 bits are not rounded first."""
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
def normal_cdf(x):
    """Return the share of a standard normal distribution below x."""
    return 0.5 * (1.0 + tl.erf(x * 0.7071067811865476))


@triton.jit
def locate_window(window, height, width, WINDOW: tl.constexpr, SHIFT: tl.constexpr, BLOCK_N: tl.constexpr):
    """Return the row of each token of a shifted window, whether it exists, and the region it came from."""
    rows, columns = height // WINDOW, width // WINDOW
    column = window % columns
    row = (window // columns) % rows
    image = window // (rows * columns)
    token = tl.arange(0, BLOCK_N)
    y, x = token // WINDOW, token % WINDOW
    wrapped_y = (row == rows - 1) & (y >= WINDOW - SHIFT)
    wrapped_x = (column == columns - 1) & (x >= WINDOW - SHIFT)
    region = wrapped_y.to(tl.int32) * 2 + wrapped_x.to(tl.int32)
    image_y = (row * WINDOW + y + SHIFT) % height
    image_x = (column * WINDOW + x + SHIFT) % width
    position = (image * height + image_y.to(tl.int64)) * width + image_x
    return position, token < WINDOW * WINDOW, region
