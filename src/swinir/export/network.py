"""SwinIR as an ONNX graph, from its configuration and its parameters under their published names.

Written operation by operation rather than recorded by PyTorch: that takes 43 s of a processor for 24 layers where
this takes half a second, and leaves 3036 operations instead of 797. What is written must compute what
``swinir.SwinIR`` does: ``verification`` looks at every file.
"""

from collections.abc import Mapping
from math import isqrt

import numpy as np
from torch import Tensor

from swinir.export.graph import INPUT, OUTPUT, Graph, Value
from swinir.export.layers import IMAGE_ORDER, Layers, Sizes
from swinir.export.products import Products
from swinir.model import ResidualConv, SwinIRConfig
from swinir.model.blocks import BOTTLENECK_SLOPE
from swinir.model.heads import Convolve, Shuffle, last_layer
from swinir.model.swinir import RGB_MEAN


def write_network(
    graph: Graph, config: SwinIRConfig, parameters: Mapping[str, Tensor], *, is_half: bool
) -> None:
    """Write the whole network, from ``INPUT`` [b, c, h, w] of any size to ``OUTPUT`` [b, c, scale·h, scale·w]."""
    add, number = graph.add, graph.number
    products = Products(graph=graph, parameters=parameters, is_half=is_half)
    sizes = _find_sizes(graph, config)
    mean = RGB_MEAN if config.in_channels == len(RGB_MEAN) else (0.0,) * config.in_channels
    mean = graph.constant(np.array(mean, np.float32).reshape(-1, 1, 1), "mean")
    image_range = graph.constant(np.float32(config.image_range))
    image = add("Mul", add("Sub", _pad(graph, sizes), mean), image_range)
    if config.unshuffle == 1:
        shallow = products.convolution(image, "conv_first")
    else:
        shallow = products.convolution(_write_unshuffle(graph, config, sizes, image), "conv_first.1")
    features = _write_body(products, config, sizes, shallow)
    restored = _write_reconstruction(products, config, features)
    if config.head.adds_input:
        restored = add("Add", restored, image)
    restored = add("Add", add("Div", restored, image_range), mean)
    ends = graph.vector(*(number("Mul", side, config.scale) for side in (sizes.height, sizes.width)))
    add("Slice", restored, graph.constant([0, 0]), ends, graph.constant([2, 3]), output=OUTPUT)


def _find_sizes(graph: Graph, config: SwinIRConfig) -> Sizes:
    number, window_px = graph.number, config.window_px
    shape = number("Shape", INPUT)
    batch, height, width = (number("Gather", shape, axis) for axis in (0, 2, 3))
    windows = [number("Div", number("Add", side, window_px - 1), window_px) for side in (height, width)]
    padded, features = (
        [number("Mul", count, side) for count in windows] for side in (window_px, config.window_size)
    )
    return Sizes(batch, height, width, *padded, *features)


def _pad(graph: Graph, sizes: Sizes) -> Value:
    """Continue the image at its bottom and right by reflection, edge not repeated, as often as needed."""
    number, image = graph.number, INPUT
    for axis, side, padded in ((2, sizes.height, sizes.padded_height), (3, sizes.width, sizes.padded_width)):
        # 1 for a side of one pixel, whose period is 0.
        period = number("Max", number("Add", number("Mul", side, 2), -2), 1)
        position = number("Mod", number("Range", 0, padded, 1), period)
        mirrored = number("Min", position, number("Sub", period, position))
        image = graph.add("Gather", image, mirrored, axis=axis)
    return image


def _write_unshuffle(graph: Graph, config: SwinIRConfig, sizes: Sizes, image: Value) -> Value:
    """Make channels of the pixels of each block, in PyTorch's order, which is not that of SpaceToDepth."""
    channels, side = config.in_channels, config.unshuffle
    rows, columns = sizes.feature_height, sizes.feature_width
    # No more than five dimensions, which is what CoreML takes.
    planes = graph.number("Mul", sizes.batch, channels)
    blocks = graph.add("Reshape", image, graph.vector(planes, rows, side, columns, side))
    places_first = graph.add("Transpose", blocks, perm=[0, 2, 4, 1, 3])
    return graph.add("Reshape", places_first, graph.vector(sizes.batch, channels * side**2, rows, columns))


def _write_position_embedding(products: Products, config: SwinIRConfig, sizes: Sizes) -> Value:
    """Resize the learnt embedding to the features, by bicubic interpolation: [1, h, w, c]."""
    add = products.graph.add
    learnt = products.array("absolute_pos_embed")
    side_px = isqrt(learnt.shape[1])
    channels_first = learnt.reshape(1, side_px, side_px, config.embed_dim).transpose(0, 3, 1, 2)
    image = products.graph.constant(channels_first, "position_embedding")
    size = products.graph.vector(1, config.embed_dim, sizes.feature_height, sizes.feature_width)
    resized = add(
        "Resize",
        image,
        "",
        "",
        size,
        mode="cubic",
        coordinate_transformation_mode="half_pixel",
        cubic_coeff_a=-0.75,
    )
    return add("Transpose", resized, perm=[0, 2, 3, 1])


def _write_body(products: Products, config: SwinIRConfig, sizes: Sizes, shallow: Value) -> Value:
    """Write all residual groups, from shallow features [b, c, h, w] to those that are reconstructed."""
    graph = products.graph
    row = graph.constant([-1, config.embed_dim])
    rows_shape = graph.vector(sizes.batch, sizes.feature_height, sizes.feature_width, config.embed_dim)

    def to_rows(image: Value) -> Value:
        return graph.add("Reshape", graph.add("Transpose", image, perm=[0, 2, 3, 1]), row)

    def to_image(rows: Value) -> Value:
        return graph.add("Transpose", graph.add("Reshape", rows, rows_shape), perm=[0, 3, 1, 2])

    layers = Layers(products=products, config=config, sizes=sizes)
    stream = to_rows(shallow)
    if config.patch_norm:
        stream = products.norm(stream, "patch_embed.norm")
    if config.position_embedding_px is not None:
        image = graph.add("Reshape", stream, rows_shape)
        image = graph.add("Add", image, _write_position_embedding(products, config, sizes))
        stream = graph.add("Reshape", image, row)
    for group, depth in enumerate(config.depths):
        rows = stream
        for index in range(depth):
            rows = layers.write(rows, group, index)
        image = to_image(layers.reorder(rows, IMAGE_ORDER))
        stream = graph.add(
            "Add", stream, to_rows(_write_closing(products, config, image, f"layers.{group}.conv"))
        )
    image = to_image(products.norm(stream, "norm"))
    return graph.add("Add", shallow, _write_closing(products, config, image, "conv_after_body"))


def _write_closing(products: Products, config: SwinIRConfig, image: Value, name: str) -> Value:
    """Write what ends a residual group, or the body: one convolution, or a bottleneck of three."""
    if config.residual_conv is ResidualConv.ONE:
        return products.convolution(image, name)
    for place in ("0", "2"):
        image = products.convolution(image, f"{name}.{place}", BOTTLENECK_SLOPE)
    return products.convolution(image, f"{name}.4")


def _write_reconstruction(products: Products, config: SwinIRConfig, features: Value) -> Value:
    """Turn features into the enlarged image, or into the correction of one."""
    add, constant = products.graph.add, products.graph.constant
    last = last_layer(config.head_steps)
    for step in config.head_steps:
        if isinstance(step, Convolve):
            is_last = step.name == last
            features = products.convolution(features, step.name, step.negative_slope, is_last=is_last)
        elif isinstance(step, Shuffle):
            features = add("DepthToSpace", features, blocksize=step.factor, mode="CRD")
        else:
            larger = constant(np.array([1, 1, step.factor, step.factor], np.float32))
            # Without an input for a region of interest.
            features = add(
                "Resize",
                features,
                "",
                larger,
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
    return features
