"""The card of a model in the format of the hub: metadata that its search reads, then what people read."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from swinir.model import SwinIRConfig
from swinir.weights.checkpoint import Checkpoint
from swinir.weights.records import Figures, Task

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

# What the hub calls networks from images to images, and what its search finds by each task.
PIPELINE = "image-to-image"
_TASK_TAGS: Mapping[Task, tuple[str, ...]] = {
    Task.SUPER_RESOLUTION: ("super-resolution", "image-upscaling"),
    Task.REAL_SUPER_RESOLUTION: ("super-resolution", "image-upscaling", "real-world"),
    Task.DENOISING: ("image-denoising",),
    Task.JPEG: ("jpeg-artifact-removal",),
}
_COMMANDS: Mapping[Task, str] = {
    Task.SUPER_RESOLUTION: "upscale",
    Task.REAL_SUPER_RESOLUTION: "upscale",
    Task.DENOISING: "denoise",
    Task.JPEG: "dejpeg",
}
# Licences that the hub knows by a short name of lower case.
_KNOWN_LICENCES = ("apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0")
_RELATIVE_LINK = re.compile(r"\[([^\]]*)\]\((?!https?:)[^)]*\)")


def write_card(
    checkpoint: Checkpoint,
    *,
    name: str,
    repo: str,
    task: Task,
    licence: str | None,
    figures: Mapping[str, Figures],
    text: str = "",
) -> str:
    """Write the card of a model.

    Args:
        checkpoint: the model.
        name: what it is called.
        repo: owner and name on the hub.
        task: what it does.
        licence: of the weights; None where it is not known.
        figures: what it measured, by test set.
        text: what people read, in Markdown; by default what is known of the model is written out.
    """
    body = _RELATIVE_LINK.sub(r"\1", text).strip() or _body(checkpoint, name, task, figures)
    return f"---\n{_metadata(name, task, licence, figures)}\n---\n\n{body}\n\n{_use(repo, task)}"


def _metadata(name: str, task: Task, licence: str | None, figures: Mapping[str, Figures]) -> str:
    from huggingface_hub import ModelCardData  # noqa: PLC0415  slow to import

    known = (licence or "").lower()
    is_known = known in _KNOWN_LICENCES
    data = ModelCardData(
        license=known if is_known else licence and "other",
        license_name=None if is_known else licence,
        library_name="swinir",
        pipeline_tag=PIPELINE,
        tags=["swinir", "image-restoration", *_TASK_TAGS[task]],
        metrics=["psnr", "ssim"] if figures else None,
        model_name=name,
        eval_results=[result for data, values in figures.items() for result in _results(data, values)]
        or None,
    )
    return data.to_yaml().strip()


def _results(data: str, figures: Figures) -> "list[EvalResult]":
    from huggingface_hub import EvalResult  # noqa: PLC0415  slow to import

    values = {"psnr": figures.psnr_db, "ssim": figures.ssim, "psnr-b": figures.psnr_b_db}
    return [
        EvalResult(
            task_type=PIPELINE,
            dataset_type=data.lower(),
            dataset_name=data,
            metric_type=metric,
            metric_value=value,
        )
        for metric, value in values.items()
        if value is not None
    ]


def _body(checkpoint: Checkpoint, name: str, task: Task, figures: Mapping[str, Figures]) -> str:
    config = checkpoint.config
    parameters = sum(tensor.numel() for tensor in checkpoint.state_dict.values())
    lines = [
        f"# {name}",
        "",
        f"SwinIR for {task}{_enlarging(config)}: {_network(config)}, {parameters:,} parameters.",
    ]
    if figures:
        lines += ["", "| data | PSNR, dB | SSIM |", "|---|---|---|"]
        for data, values in figures.items():
            ssim = "" if values.ssim is None else f"{values.ssim:.4f}"
            lines.append(f"| {data} | {values.psnr_db:.2f} | {ssim} |")
    return "\n".join(lines)


def _enlarging(config: SwinIRConfig) -> str:
    return f" ×{config.scale}" if config.scale > 1 else ""


def _network(config: SwinIRConfig) -> str:
    kind = {1: "grey", 3: "colour"}.get(config.in_channels, "four-channel")
    return (
        f"{kind} images, {len(config.depths)} residual groups of {'/'.join(map(str, sorted(set(config.depths))))}"
        f" layers, {config.embed_dim} channels, windows of {config.window_size}×{config.window_size}"
    )


def _use(repo: str, task: Task) -> str:
    return f"""## Use

```
pip install swinir
swinir {_COMMANDS[task]} photo.jpg --model hf:{repo}
```

```python
from swinir import Restorer

restorer = Restorer.from_pretrained("hf:{repo}")
restorer.restore_file("photo.jpg", "restored.png")
```

The network is SwinIR (Liang et al. 2021, https://arxiv.org/abs/2108.10257). `model.safetensors` carries its
configuration; nothing in it is executed.
"""
