"""Transformer layers of a graph, the rows of the stream being in the order of their windows.

The stream is [t, c]: a row for each pixel of the batch. Which row is where, and which windows are masked, is
computed from positions, once for each shift; between layers the rows are gathered into the order of the next.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from swinir.export.graph import Graph, Operand, Value
from swinir.export.products import Products, largest_behind_norm
from swinir.model import SwinIRConfig
from swinir.ops.convolution import HALF_LIMIT
from swinir.ops.windows import relative_position_index, shift_masks

# The order of rows in which the pixels of an image follow each other.
IMAGE_ORDER = -1


class Sizes(NamedTuple):
    """Whole numbers of the graph: the batch, and the sides of its images as given, padded, and of their features."""

    batch: Value
    height: Value
    width: Value
    padded_height: Value
    padded_width: Value
    feature_height: Value
    feature_width: Value


class Places(NamedTuple):
    """Pixel of each row in the order of some windows, and row of each pixel."""

    pixels: Value
    rows: Value


@dataclass(kw_only=True)
class Layers:
    """Writes transformer layers, and knows the order that the rows of the stream are in: a shift of windows."""

    products: Products
    config: SwinIRConfig
    sizes: Sizes
    order: int = IMAGE_ORDER
    _places: dict[int, Places] = field(default_factory=dict[int, Places])
    _masks: dict[int, Value] = field(default_factory=dict[int, Value])

    @property
    def graph(self) -> Graph:
        """What is written to."""
        return self.products.graph

    def reorder(self, stream: Value, order: int) -> Value:
        """Bring the rows into another order."""
        before, self.order = self.order, order
        if before == order:
            return stream
        if before == IMAGE_ORDER:
            index = self._places_of(order).pixels
        elif order == IMAGE_ORDER:
            index = self._places_of(before).rows
        else:
            index = self.graph.number("Gather", self._places_of(before).rows, self._places_of(order).pixels)
        return self.graph.add("Gather", stream, index, axis=0)

    def write(self, stream: Value, group: int, index: int) -> Value:
        """Write one layer (equations 1 and 2 of Liang et al. 2021)."""
        name = f"layers.{group}.residual_group.blocks.{index}"
        shift = 0 if index % 2 == 0 else self.config.window_size // 2
        stream = self.reorder(stream, shift)
        stream = self._write_attention(stream, name, self.config.num_heads[group], shift)
        return self._write_mlp(stream, name)

    def _write_attention(self, stream: Value, name: str, num_heads: int, shift: int) -> Value:
        """Add attention within windows to the stream; in half precision scores and softmax are float32."""
        products, add = self.products, self.graph.add
        n, head_dim = self.config.window_size**2, self.config.embed_dim // num_heads
        weight = products.array(f"{name}.attn.qkv.weight")
        has_bias = self.config.qkv_bias
        bias = products.array(f"{name}.attn.qkv.bias") if has_bias else np.zeros(len(weight), np.float32)
        # Queries are divided by √d where they are made.
        scale = np.repeat(np.array([head_dim**-0.5, 1.0, 1.0], np.float32), self.config.embed_dim)
        weight, bias = weight * scale[:, None], bias * scale
        bounds = self._largest_behind(f"{name}.norm1", weight, bias)
        is_half = products.is_half and _attention_fits_half(bounds, num_heads)

        normed = products.norm(stream, f"{name}.norm1")
        qkv = products.linear(products.to_half(normed) if is_half else normed, weight, bias, is_half=is_half)
        by_window = add("Reshape", qkv, self.graph.constant([-1, n, 3 * num_heads, head_dim]))
        parts = self.graph.add_split("Split", 3, by_window, self.graph.constant([num_heads] * 3), axis=2)
        q, k, v = (
            add("Transpose", part, perm=order) for part, order in zip(parts, _HEADS_FIRST, strict=True)
        )
        scores = add("MatMul", q, k)
        scores = add("Add", products.to_float(scores) if is_half else scores, self._position_bias(name))
        if shift:
            scores = add("Add", scores, self._mask(shift))
        shares = add("Softmax", scores, axis=-1)
        attended = add("MatMul", products.to_half(shares) if is_half else shares, v)
        rows = add("Transpose", attended, perm=[0, 2, 1, 3])
        rows = add("Reshape", rows, self.graph.constant([-1, self.config.embed_dim]))
        return products.branch(
            stream, rows, f"{name}.attn.proj", largest=float(bounds.max()), is_half=is_half
        )

    def _write_mlp(self, stream: Value, name: str) -> Value:
        """Add the MLP to the stream."""
        products, add = self.products, self.graph.add
        weight, bias = (products.array(f"{name}.mlp.fc1.{kind}") for kind in ("weight", "bias"))
        largest = float(self._largest_behind(f"{name}.norm2", weight, bias).max())
        is_half = products.is_half and largest <= HALF_LIMIT
        normed = products.norm(stream, f"{name}.norm2")
        x = products.linear(products.to_half(normed) if is_half else normed, weight, bias, is_half=is_half)
        dtype = np.float16 if is_half else np.float32
        root, one, half = (self.graph.constant(dtype(number)) for number in (2**0.5, 1.0, 0.5))
        # x · Φ(x) in the shape in which runtimes look for it.
        cumulated = add("Add", add("Erf", add("Div", x, root)), one)
        hidden = add("Mul", add("Mul", x, cumulated), half)
        return products.branch(stream, hidden, f"{name}.mlp.fc2", largest=largest, is_half=is_half)

    def _largest_behind(
        self, norm: str, weight: Float32[np.ndarray, "out c"], bias: Float32[np.ndarray, " out"]
    ) -> Float32[np.ndarray, " out"]:
        affine = (self.products.array(f"{norm}.{kind}") for kind in ("weight", "bias"))
        return largest_behind_norm(weight, bias, *affine)

    def _position_bias(self, name: str) -> Value:
        """Look up the bias of each head and pair of tokens; a runtime does so once, when it loads the graph."""
        table = self.products.array(f"{name}.attn.relative_position_bias_table")
        index = relative_position_index(self.config.window_size).numpy()
        by_head = self.graph.constant(np.ascontiguousarray(table.T), "position_bias_table")
        return self.graph.add("Gather", by_head, self.graph.constant(index, "position_index"), axis=1)

    def _places_of(self, shift: int) -> Places:
        if shift not in self._places:
            self._places[shift] = self._find_places(shift)
        return self._places[shift]

    def _find_places(self, shift: int) -> Places:
        number, size = self.graph.number, self.config.window_size
        height, width = self.sizes.feature_height, self.sizes.feature_width
        image_px = number("Mul", height, width)
        index = number("Range", 0, number("Mul", self.sizes.batch, image_px), 1)
        within = number("Mod", index, image_px)
        first_of_image = number("Sub", index, within)

        def join(*terms: Operand) -> Value:
            total, *rest = terms
            for term in rest:
                total = number("Add", total, term)
            return str(total)

        # Of a row, in the order image, row of windows, column of windows, row in the window, column in it.
        band_px = number("Mul", width, size)
        in_band = number("Mod", within, band_px)
        in_window = number("Mod", in_band, size**2)
        y = join(number("Mul", number("Div", within, band_px), size), number("Div", in_window, size), shift)
        x = join(number("Mul", number("Div", in_band, size**2), size), number("Mod", in_window, size), shift)
        y, x = number("Mod", y, height), number("Mod", x, width)
        pixels = join(first_of_image, number("Mul", y, width), x)

        # Of a pixel, in the order image, row, column; a side is added so that nothing is below 0.
        y = number("Mod", join(number("Div", within, width), height, -shift), height)
        x = number("Mod", join(number("Mod", within, width), width, -shift), width)
        y_in_window, x_in_window = number("Mod", y, size), number("Mod", x, size)
        rows = join(
            first_of_image,
            number("Mul", number("Sub", y, y_in_window), width),
            number("Mul", number("Sub", x, x_in_window), size),
            number("Mul", y_in_window, size),
            x_in_window,
        )
        return Places(pixels, rows)

    def _mask(self, shift: int) -> Value:
        """Choose one of the four shift masks for each window of the batch: [windows, 1, n, n]."""
        if shift not in self._masks:
            self._masks[shift] = self._find_mask(shift)
        return self._masks[shift]

    def _find_mask(self, shift: int) -> Value:
        number, size = self.graph.number, self.config.window_size
        num_rows, num_columns = (
            number("Div", side, size) for side in (self.sizes.feature_height, self.sizes.feature_width)
        )
        per_image = number("Mul", num_rows, num_columns)
        index = number("Mod", number("Range", 0, number("Mul", self.sizes.batch, per_image), 1), per_image)
        # 1 in the last row or column of windows, 0 in all before.
        is_last_row = number("Div", number("Add", number("Div", index, num_columns), 1), num_rows)
        is_last_column = number("Div", number("Add", number("Mod", index, num_columns), 1), num_columns)
        kind = number("Add", number("Mul", is_last_row, 2), is_last_column)
        masks = shift_masks(size, shift).numpy().reshape(4, 1, size**2, size**2)
        return self.graph.number("Gather", self.graph.constant(masks, "shift_masks"), kind)


# Queries and values as [windows, heads, n, d], keys as [windows, heads, d, n].
_HEADS_FIRST = ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])


def _attention_fits_half(bounds: Float32[np.ndarray, " c3"], num_heads: int) -> bool:
    """Tell whether queries, keys, values and scores stay in range; a score is at most the product of two lengths."""
    q, k, _ = np.linalg.norm(bounds.reshape(3, num_heads, -1), axis=2)
    return max(float(bounds.max()), float((q * k).max())) <= HALF_LIMIT
