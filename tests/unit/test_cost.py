"""What a forward pass costs in memory."""

import pytest
import torch

from swinir.engine.cost import SAFETY, measure_cost, trace_peak

CPU = torch.device("cpu")


def test_trace_counts_what_is_alive_at_once() -> None:
    def forward(image: torch.Tensor) -> torch.Tensor:
        pair = torch.cat([image, image])
        four = torch.cat([pair, pair])
        del pair
        return four.sum()

    image_bytes = 4 * 3 * 16 * 16
    assert trace_peak(forward, channels=3, side_px=16, device=CPU) == (2 + 4) * image_bytes


def test_trace_counts_views_once() -> None:
    def forward(image: torch.Tensor) -> torch.Tensor:
        return (image + 1).flatten().reshape(3, -1).T

    assert trace_peak(forward, channels=3, side_px=16, device=CPU) == 4 * 3 * 16 * 16


def test_measured_cost_is_the_line_through_two_traces_with_its_safety() -> None:
    table = torch.ones(1000)

    def forward(image: torch.Tensor) -> torch.Tensor:
        fixed = table + 1
        return fixed[0] * (image + 1)

    cost = measure_cost(forward, channels=1, window_size=8, device=CPU)
    assert cost.bytes_per_px == pytest.approx(SAFETY * 8, rel=0.01)
    assert cost.fixed_bytes == pytest.approx(SAFETY * 4000, rel=0.01)
