"""Training crops: drawn, turned and degraded as a pure function of seed and step.

The whole data set is one flat array of pixels. A batch is one gather, flips and rotations included in the
addresses, so a resumed run draws what an uninterrupted one would have drawn, and any number of processes draw
together what one would. Arithmetic degradations (bicubic, noise) are computed on the device that trains;
what needs a codec (JPEG, the real world) is made by threads of the processor, some steps ahead.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import count
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from swinir import imaging
from swinir.data.crop_degradations import (
    Bicubic,
    Degradation,
    GaussianNoise,
    MakePair,
    StoredPairs,
    margin_px,
    pair_maker,
    store_channels,
)
from swinir.data.store import (
    DECODING_THREADS,
    CropIndices,
    PixelStore,
    mix_seed,
    open_pair_stores,
    open_store,
)
from swinir.errors import UsageError

# Batches that threads make ahead of the step.
AHEAD = 3
# Seeds of noise must not be those of places.
NOISE_STREAM = 0x6E6F697365


class Sampling(StrEnum):
    """What is drawn equally often: every place of all pictures, so the large ones more, or every picture."""

    UNIFORM_OVER_PIXELS = "pixels"
    UNIFORM_OVER_IMAGES = "images"


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Crops of low quality and the same crops of high quality, float32 in [0, 1], channels-last in memory."""

    lq: Float[Tensor, "b c h w"]
    hq: Float[Tensor, "b c sh sw"]

    def parts(self, count: int) -> list["Batch"]:
        """Cut into ``count`` batches of equal size."""
        pairs = zip(self.lq.chunk(count), self.hq.chunk(count), strict=True)
        return [Batch(lq=lq, hq=hq) for lq, hq in pairs]


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Which part of every batch a process makes: every ``count``-th crop from ``index`` on."""

    index: int = 0
    count: int = 1

    @property
    def rows(self) -> slice:
        """The crops of a batch that are this process's."""
        return slice(self.index, None, self.count)


@runtime_checkable
class Source(Protocol):
    """Makes a process's part of the batch that was drawn for a step."""

    def batch(self, step: int, indices: CropIndices) -> Batch:
        """Make the batch; ``indices`` are those of all processes."""
        ...


class CropLoader:
    """Draw batches of training crops.

    Args:
        store: pictures of high quality, sides multiples of ``scale``.
        scale: HQ pixels per LQ pixel.
        crop_px: side of an LQ crop.
        batch_size: crops per batch, over all processes.
        seed: with the step, decides every draw.
        device: where batches are wanted.
        degradation: how low quality is made.
        lq_store: the low quality of stored pairs, picture by picture.
        channels: of the crops; only JPEG makes grey crops of a store in colour.
        sampling: what is equally likely.
        shard: this process's part.
        workers: threads that make_pair, where that takes threads.

    Raises:
        UsageError: a picture is smaller than a crop, or the batch does not divide into the shards.
    """

    def __init__(
        self,
        store: PixelStore,
        *,
        scale: int,
        crop_px: int,
        batch_size: int,
        seed: int,
        device: torch.device,
        degradation: Degradation | None = None,
        lq_store: PixelStore | None = None,
        channels: int = 3,
        sampling: Sampling = Sampling.UNIFORM_OVER_PIXELS,
        shard: Shard | None = None,
        workers: int = 1,
    ) -> None:
        degradation, shard = degradation or Bicubic(), shard or Shard()
        self.scale, self.crop_px, self.batch_size, self.seed = scale, crop_px, batch_size, seed
        self.device = device
        self.shard = shard
        side_px = crop_px * scale + margin_px(degradation)
        if min(int(store.heights.min()), int(store.widths.min())) < side_px:
            raise UsageError(f"every picture must hold a crop of {side_px}×{side_px} pixels")
        if batch_size % shard.count:
            raise UsageError(f"a batch of {batch_size} crops does not divide among {shard.count} processes")
        self.num_pixels: int = store.pixels.shape[0]
        self._lq_widths = (store.widths - margin_px(degradation)) // scale
        lq_heights = (store.heights - margin_px(degradation)) // scale
        self._places = (lq_heights - crop_px + 1) * (self._lq_widths - crop_px + 1)
        self._places_up_to = self._places.cumsum(0)
        self._sampling = sampling
        match degradation:
            case Bicubic():
                low = downscale_all(store, scale).to(device)
                self._source: Source = _TwoStores(store.to(device), low, crop_px, scale, shard)
            case StoredPairs():
                if lq_store is None:
                    raise UsageError("stored pairs need lq_store")
                self._source = _TwoStores(store.to(device), lq_store.to(device), crop_px, scale, shard)
            case GaussianNoise():
                self._source = _Noisy(store.to(device), crop_px, degradation, seed, shard)
            case _:
                make_pair = pair_maker(degradation, scale=scale, crop_px=crop_px, channels=channels)
                pairs = _Pairs(store, side_px, scale, make_pair, seed=seed, rows=shard.rows)
                self._source = _Prefetched(pairs, self.draw, workers, device)

    @classmethod
    def from_folder(
        cls,
        source: Path,
        *,
        lq_source: Path | None = None,
        channels: int,
        scale: int,
        crop_px: int,
        batch_size: int,
        seed: int,
        device: torch.device,
        degradation: Degradation | None = None,
        sampling: Sampling = Sampling.UNIFORM_OVER_PIXELS,
        shard: Shard | None = None,
        workers: int = 1,
        cache: Path | None = None,
    ) -> Self:
        """Read every picture of a folder or list; those that are damaged or too small are named and left out.

        ``lq_source`` holds the low quality of stored pairs, of which ``source`` holds the high.

        Raises:
            DataError: there is nothing to read, or pairs do not match.
        """
        lq_store = None
        if lq_source is not None:
            degradation = StoredPairs()
            lq_store, store = open_pair_stores(
                lq_source, source, channels=channels, scale=scale, crop_px=crop_px, cache=cache
            )
        else:
            degradation = degradation or Bicubic()
            store = open_store(
                source,
                channels=store_channels(degradation, channels),
                scale=scale,
                smallest_px=crop_px * scale + margin_px(degradation),
                cache=cache,
            )
        return cls(
            store,
            scale=scale,
            crop_px=crop_px,
            batch_size=batch_size,
            seed=seed,
            device=device,
            degradation=degradation,
            lq_store=lq_store,
            channels=channels,
            sampling=sampling,
            shard=shard,
            workers=workers,
        )

    def draw(self, step: int) -> CropIndices:
        """Choose the crops of a step."""
        generator = torch.Generator().manual_seed(mix_seed(self.seed, step))
        chance = torch.rand(self.batch_size, generator=generator, dtype=torch.float64)
        match self._sampling:
            case Sampling.UNIFORM_OVER_PIXELS:
                place = (chance * self._places_up_to[-1]).long()
                image = torch.searchsorted(self._places_up_to, place, right=True)
                place = place - torch.where(image > 0, self._places_up_to[image - 1], 0)
            case Sampling.UNIFORM_OVER_IMAGES:
                image = torch.randint(len(self._places), (self.batch_size,), generator=generator)
                place = (chance * self._places[image]).long()
        columns = self._lq_widths[image] - self.crop_px + 1
        symmetry = torch.randint(8, (self.batch_size,), generator=generator)
        return CropIndices(image=image, top=place // columns, left=place % columns, symmetry=symmetry)

    def batch(self, step: int) -> Batch:
        """Make this process's part of the batch of a step."""
        return self._source.batch(step, self.draw(step))

    def seed_of(self, step: int, stream: int) -> int:
        """Return a seed for a step's other draws, of a ``stream`` of their own."""
        return mix_seed(self.seed ^ stream, step)

    def crops_per_s(self, seconds: float = 0.1) -> float:
        """Measure how fast this process makes crops when nobody waits for them."""
        # Steps that no run asks for.
        steps = count(-1_000_000, -1)
        self._source.batch(step := next(steps), self.draw(step))
        began, num_batches = time.monotonic(), 0
        while num_batches < 2 * AHEAD or time.monotonic() - began < seconds:
            self._source.batch(step := next(steps), self.draw(step))
            num_batches += 1
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return num_batches * (self.batch_size // self.shard.count) / (time.monotonic() - began)


def downscale_all(store: PixelStore, scale: int) -> PixelStore:
    """Shrink every picture as MATLAB's bicubic does."""
    with ThreadPoolExecutor(DECODING_THREADS) as pool:
        return PixelStore.of(pool.map(partial(imaging.resize_bicubic, scale=1 / scale), store.pictures()))


def _on_device(indices: CropIndices, device: torch.device) -> CropIndices:
    table = torch.stack([indices.image, indices.top, indices.left, indices.symmetry])
    if device.type == "cuda":
        table = table.pin_memory()
    image, top, left, symmetry = table.to(device, non_blocking=True)
    return CropIndices(image=image, top=top, left=left, symmetry=symmetry)


class _TwoStores:
    """Low quality from a second store, of the same pictures."""

    def __init__(self, hq: PixelStore, lq: PixelStore, crop_px: int, scale: int, shard: Shard) -> None:
        self._hq, self._lq, self._crop_px, self._scale, self._shard = hq, lq, crop_px, scale, shard

    def batch(self, step: int, indices: CropIndices) -> Batch:
        here = _on_device(indices.part(self._shard.rows), self._hq.pixels.device)
        return Batch(
            lq=self._lq.crops(here, self._crop_px),
            hq=self._hq.crops(here, self._crop_px * self._scale, self._scale),
        )


class _Noisy:
    """Low quality is high quality under white Gaussian noise, neither clipped nor rounded."""

    def __init__(self, hq: PixelStore, crop_px: int, noise: GaussianNoise, seed: int, shard: Shard) -> None:
        self._hq, self._crop_px, self._noise, self._seed, self._shard = hq, crop_px, noise, seed, shard

    def batch(self, step: int, indices: CropIndices) -> Batch:
        device = self._hq.pixels.device
        hq = self._hq.crops(_on_device(indices.part(self._shard.rows), device), self._crop_px)
        generator = torch.Generator(device).manual_seed(mix_seed(self._seed ^ NOISE_STREAM, step))
        # Drawn for all processes, so that their number does not matter.
        least, greatest = self._noise.sigma
        level = torch.rand(len(indices.image), 1, 1, 1, generator=generator, device=device)
        sigma = (least + (greatest - least) * level) / 255
        noise = torch.randn(len(indices.image), *hq.shape[1:], generator=generator, device=device)
        rows = self._shard.rows
        return Batch(lq=hq + sigma[rows] * noise[rows], hq=hq)


class _Pairs:
    """Pairs of crops that threads make one by one; each crop has a generator of its own, so their order is free."""

    def __init__(
        self, hq: PixelStore, side_px: int, scale: int, make_pair: MakePair, *, seed: int, rows: slice
    ) -> None:
        self._hq, self._side_px, self._scale, self._make_pair = hq, side_px, scale, make_pair
        self._seed, self.rows = seed, rows

    def pair(self, step: int, indices: CropIndices, number: int) -> tuple[Tensor, Tensor]:
        """Make the pair of one crop of the batch, uint8 [p, p, c]."""
        one = indices.part(slice(number, number + 1))
        hq = self._hq.gather(one, self._side_px, self._scale)[0].numpy()
        generator = np.random.default_rng([mix_seed(self._seed ^ NOISE_STREAM, step), number])
        lq, hq = self._make_pair(hq, generator)
        return torch.from_numpy(np.ascontiguousarray(lq)), torch.from_numpy(np.ascontiguousarray(hq))


class _Prefetched:
    """Have threads make the next steps' pairs while this one trains."""

    def __init__(
        self, pairs: _Pairs, draw: Callable[[int], CropIndices], workers: int, device: torch.device
    ) -> None:
        self._pairs, self._draw, self._device = pairs, draw, device
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="crops")
        self._begun: dict[int, list[Future[tuple[Tensor, Tensor]]]] = {}

    def batch(self, step: int, indices: CropIndices) -> Batch:
        # Steps count up, or down where batches before the first are asked for.
        onward = 1 if step >= 0 else -1
        wanted = [step + onward * n for n in range(AHEAD + 1)]
        for other in self._begun.keys() - set(wanted):
            for future in self._begun.pop(other):
                future.cancel()
        for next_step in wanted:
            if next_step not in self._begun:
                self._begin(next_step, indices if next_step == step else self._draw(next_step))
        lq, hq = zip(*(future.result() for future in self._begun.pop(step)), strict=True)
        return Batch(
            lq=_as_images(torch.stack(lq), self._device), hq=_as_images(torch.stack(hq), self._device)
        )

    def _begin(self, step: int, indices: CropIndices) -> None:
        numbers = range(len(indices.image))[self._pairs.rows]
        self._begun[step] = [self._pool.submit(self._pairs.pair, step, indices, number) for number in numbers]


def _as_images(pixels: UInt8[Tensor, "b h w c"], device: torch.device) -> Float[Tensor, "b c h w"]:
    if device.type == "cuda":
        pixels = pixels.pin_memory().to(device, non_blocking=True)
    return rearrange(pixels, "b h w c -> b c h w").float() / 255
