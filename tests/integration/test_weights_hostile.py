"""Whatever a weights file holds, nothing of it runs, and each defect ends in one sentence."""

import io
import json
import os
import pickle
import random
import struct
import tarfile
import warnings
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save as serialize
from torch import Tensor, nn

from swinir.errors import CheckpointError
from swinir.model import SwinIR, SwinIRConfig, Upsampler
from swinir.weights import load_checkpoint, save_checkpoint, write_official

CONFIG = SwinIRConfig(
    scale=2,
    in_channels=1,
    embed_dim=4,
    depths=(2,),
    num_heads=(2,),
    window_size=2,
    upsampler=Upsampler.PIXEL_SHUFFLE_DIRECT,
)
MUTATIONS = 150


def weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = SwinIR(CONFIG).state_dict()
    return {name: torch.rand(tensor.shape, generator=generator) for name, tensor in shapes.items()}


@pytest.fixture
def state() -> dict[str, Any]:
    return weights()


def pickled(content: object, **options: object) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(content, buffer, **options)
    return buffer.getvalue()


DAMAGED_HINT = "; download or convert it again"


def refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert message.startswith(f"{path} is no usable weights file: ")
    assert "\n" not in message
    assert len(message) < 700
    return message


def assert_refused(path: Path, content: bytes, complaint: str = "") -> None:
    message = refusal(path, content)
    assert complaint in message
    assert not message.endswith(DAMAGED_HINT)


def assert_damaged(path: Path, content: bytes, complaint: str = "") -> None:
    message = refusal(path, content)
    assert complaint in message
    assert message.endswith(DAMAGED_HINT)


class Program:
    """Creates a file when it is unpickled without care."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch '{self.evidence}'",)


class Opened:
    """Creates a file through a function that no list of dangerous modules would hold."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.evidence,)


@pytest.mark.parametrize("kind", [Program, Opened])
@pytest.mark.parametrize("is_zip", [True, False])
def test_program_in_a_checkpoint_does_not_run(
    tmp_path: Path, state: dict[str, Any], kind: type, is_zip: bool
) -> None:
    evidence = tmp_path / "evidence"
    for content in (kind(evidence), {"params": {**state, "extra": kind(evidence)}}):
        hostile = pickled(content, _use_new_zipfile_serialization=is_zip)
        assert_refused(tmp_path / "a.pth", hostile, "it asks for")
        assert not evidence.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_program_in_a_bare_pickle_does_not_run(tmp_path: Path, protocol: int) -> None:
    evidence = tmp_path / "evidence"
    refusal(tmp_path / "a.pth", pickle.dumps(Program(evidence), protocol))
    assert not evidence.exists()


def test_the_program_would_run_elsewhere(tmp_path: Path) -> None:
    evidence = tmp_path / "evidence"
    pickle.loads(pickle.dumps(Program(evidence)))
    assert evidence.exists()


def test_program_in_a_tar_does_not_run(tmp_path: Path) -> None:
    evidence = tmp_path / "evidence"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("storages", "tensors", "pickle"):
            body = pickle.dumps(Program(evidence), 2)
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            archive.addfile(entry, io.BytesIO(body))
    assert_refused(tmp_path / "a.pth", buffer.getvalue())
    assert not evidence.exists()


def test_whole_module_is_refused_by_name(tmp_path: Path) -> None:
    assert_refused(
        tmp_path / "a.pth", pickled(nn.Linear(2, 2)), "it asks for 'torch.nn.modules.linear.Linear'"
    )


def test_torchscript_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02N.")
        archive.writestr("archive/constants.pkl", b"\x80\x02).")
    assert_refused(tmp_path / "a.pth", buffer.getvalue(), "TorchScript")


def test_packed_archive_is_refused_before_it_is_unpacked(tmp_path: Path, state: dict[str, Any]) -> None:
    source = zipfile.ZipFile(io.BytesIO(pickled(state)))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry in source.infolist():
            archive.writestr(entry.filename, source.read(entry))
        archive.writestr("archive/data/bomb", bytes(10_000_000))
    assert_refused(tmp_path / "a.pth", buffer.getvalue(), "compressed archive")


def test_entries_that_share_their_bytes_are_not_read_again_and_again(
    tmp_path: Path, state: dict[str, Any]
) -> None:
    buffer = io.BytesIO(pickled(state))
    with zipfile.ZipFile(buffer, "a") as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
        archive.filelist += [largest] * 1000
        archive.writestr("archive/last", b"")
    assert_damaged(tmp_path / "a.pth", buffer.getvalue(), "its entries lie over each other")


def test_other_zip_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("word/document.xml", "<xml/>")
    assert_damaged(tmp_path / "a.pth", buffer.getvalue(), "damaged, incomplete or no file of torch.save")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "it is empty"),
        (b"x", "it is text that begins with 'x'"),
        (
            b"<!DOCTYPE html>\n<html><title>404</title>" + b" " * 600,
            "text that begins with '<!DOCTYPE html> <html>",
        ),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git-lfs"),
        (b"PK", "damaged"),
        (b"PK\x03\x04" + bytes(100), "damaged"),
        (b"\x80", "damaged"),
        (b"\x80\x02.", "damaged"),
        (struct.pack("<Q", 90_000_000) + b"{}", "damaged or incomplete"),
        (struct.pack("<Q", 100_000) + b'{"a":' * 20_000, "damaged or incomplete"),
    ],
)
def test_what_did_not_arrive_whole_is_told(tmp_path: Path, content: bytes, complaint: str) -> None:
    assert_damaged(tmp_path / "a.pth", content, complaint)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "neither safetensors nor a file of torch.save"),
        (bytes(5000), "neither"),
        (b"\xff" * 5000, "neither"),
        (struct.pack("<Q", 2) + b"{}", "conv_first.weight is missing"),
        (struct.pack("<Q", 100_000) + b"[" * 100_000, "neither"),
    ],
)
def test_other_files_are_told_apart(tmp_path: Path, content: bytes, complaint: str) -> None:
    assert_refused(tmp_path / "a.pth", content, complaint)


def test_missing_file_folder_and_pipe_are_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, complaint in (
        (tmp_path / "missing", "there is no such file"),
        (tmp_path / "nul\0", "there is no such file"),
        (tmp_path, "folder"),
        (tmp_path / "pipe", "device"),
    ):
        with pytest.raises(CheckpointError, match=complaint):
            load_checkpoint(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("write", [pickled, serialize])
def test_first_tensor_with_values_that_are_not_finite_is_named(
    tmp_path: Path, state: dict[str, Any], value: float, write: Any
) -> None:
    state["layers.0.conv.weight"][1, 1, 1, 1] = value
    assert_refused(
        tmp_path / "a", write(state), "tensor layers.0.conv.weight has 1 values that are not finite"
    )


def test_value_beyond_float32_is_refused(tmp_path: Path, state: dict[str, Any]) -> None:
    state["norm.bias"] = torch.full((4,), 1e300, dtype=torch.float64)
    assert_refused(
        tmp_path / "a", pickled(state), "tensor norm.bias has 4 values that are not finite in float32"
    )


@pytest.mark.parametrize("write", [pickled, serialize])
@pytest.mark.parametrize(
    ("name", "shape", "complaint"),
    [
        ("norm.weight", (5,), "tensor norm.weight is [5], but [4] was expected"),
        ("norm.weight", (0,), "tensor norm.weight is [0], but [4] was expected"),
        ("norm.weight", (), "tensor norm.weight is [], but [4] was expected"),
        ("upsample.0.weight", (4, 4, 3, 4), "upsample.0.weight is [4, 4, 3, 4], but [4, 4, 3, 3]"),
        ("conv_first.weight", (0, 1, 3, 3), "above 0"),
        ("conv_first.weight", (6, 1, 3, 3), "is [4"),
        ("conv_first.weight", (4, 1), "conv_first.weight is [4, 1], but [embed_dim, in_channels, 3, 3]"),
        ("layers.0.residual_group.blocks.1.mlp.fc1.bias", (9,), "blocks.1.mlp.fc1.bias is [9], but [8]"),
    ],
)
def test_tensor_of_another_shape_is_named(
    tmp_path: Path, write: Any, name: str, shape: tuple[int, ...], complaint: str
) -> None:
    state = weights()
    assert_refused(tmp_path / "a", write({**state, name: torch.zeros(shape)}), complaint)


@pytest.mark.parametrize("write", [pickled, serialize])
@pytest.mark.parametrize("name", sorted(weights()))
def test_missing_tensor_is_named(tmp_path: Path, state: dict[str, Any], write: Any, name: str) -> None:
    del state[name]
    assert_refused(tmp_path / "a", write(state), "missing" if "blocks" in name else f"{name} is missing")


@pytest.mark.parametrize("name", ["relative_pos_embed", "conv_up1.weight", "x" * 5000, "line\nbreak", ""])
@pytest.mark.parametrize("write", [pickled, serialize])
def test_unknown_tensor_is_named(tmp_path: Path, state: dict[str, Any], write: Any, name: str) -> None:
    content = write({**state, name: torch.zeros(3)})
    assert_refused(tmp_path / "a", content, "belongs to no SwinIR")


@pytest.mark.parametrize("value", [3, 1.5, None, "text", [1, 2], {"a": 1}, torch.float32, torch.Size([1])])
def test_value_that_is_no_tensor_is_named(tmp_path: Path, state: dict[str, Any], value: object) -> None:
    content = pickled({"params": {**state, "norm.bias": value}})
    assert_refused(tmp_path / "a", content, f"'norm.bias' is not a tensor but a {type(value).__name__}")


@pytest.mark.parametrize("content", [None, 3, "text", [torch.zeros(3)], torch.zeros(3)])
def test_content_that_is_no_dictionary_is_refused(tmp_path: Path, content: object) -> None:
    assert_refused(tmp_path / "a", pickled(content), "it holds no dictionary of tensors but a")


@pytest.mark.parametrize(
    "content",
    [{}, {"params": {}}, {"params_ema": {}}, {"params": torch.zeros(3)}, {"state": {}, "iteration": 5}],
)
def test_dictionary_of_something_else_is_refused(tmp_path: Path, content: object) -> None:
    assert_refused(tmp_path / "a", pickled(content))


@pytest.mark.parametrize("name", [3, None, ("a", "b"), 1.5])
def test_name_that_is_no_string_is_refused(tmp_path: Path, state: dict[str, Any], name: object) -> None:
    assert_refused(tmp_path / "a", pickled({**state, name: torch.zeros(3)}), "a name is not a string")


@pytest.mark.parametrize(
    "dtype",
    [torch.int64, torch.uint8, torch.bool, torch.complex64, torch.float8_e4m3fn, torch.float8_e8m0fnu],
    ids=str,
)
@pytest.mark.parametrize("write", [pickled, serialize])
def test_other_types_are_named(tmp_path: Path, state: dict[str, Any], write: Any, dtype: torch.dtype) -> None:
    state["norm.bias"] = torch.ones(4).to(dtype)
    name = str(dtype).removeprefix("torch.")
    assert_refused(tmp_path / "a", write(state), f"tensor 'norm.bias' is of type {name}")


def exotic_tensors() -> dict[str, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        square = torch.ones(4, 4)
        return {
            "sparse": square.to_sparse(),
            "compressed": square.to_sparse_csr(),
            "quantised": torch.quantize_per_tensor(square, 0.1, 0, torch.qint8),
            "nested": torch.nested.nested_tensor([square, square]),
            "meta": square.to("meta"),
        }


@pytest.mark.parametrize("kind", ["sparse", "compressed", "quantised", "nested", "meta"])
@pytest.mark.parametrize("name", ["norm.bias", "layers.0.residual_group.blocks.1.attn_mask"])
def test_tensor_without_plain_values_is_refused(
    tmp_path: Path, state: dict[str, Any], kind: str, name: str
) -> None:
    state[name] = exotic_tensors()[kind]
    assert_refused(tmp_path / "a", pickled(state), "it asks for 'torch._utils._rebuild_")


class Call:
    """Is what a function returns for some arguments, on unpickling."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[object, ...]:
        return self.call


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize(
    ("function", "argument"),
    [(bytearray, 10**12), (set, "x"), (Counter, "x"), (torch.FloatTensor, 10**12), (torch.device, "cuda")],
)
def test_what_could_fill_the_memory_is_not_built(
    tmp_path: Path, state: dict[str, Any], function: Callable[..., object], argument: object, is_zip: bool
) -> None:
    content = {**state, "norm.bias": Call(function, argument)}
    hostile = pickled(content, _use_new_zipfile_serialization=is_zip)
    assert_refused(tmp_path / "a", hostile, f"{function.__name__}', which was refused")


def test_small_file_cannot_claim_much_memory(tmp_path: Path) -> None:
    wide = SwinIRConfig(
        scale=2,
        in_channels=1,
        embed_dim=10_000_000,
        depths=(1,),
        num_heads=(1,),
        window_size=2,
        upsampler=Upsampler.PIXEL_SHUFFLE_DIRECT,
    )
    with torch.device("meta"):
        shapes = SwinIR(wide).state_dict()
    content = {name: torch.zeros(()).expand(tensor.shape) for name, tensor in shapes.items()}
    assert_refused(tmp_path / "a", pickled(content), "its tensors claim")


class Masked:
    """Becomes a dictionary whose attributes hide its methods."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content

    def __reduce__(self) -> tuple[object, ...]:
        hidden = {"items": "hidden", "keys": "hidden", "get": "hidden"}
        return OrderedDict, (), hidden, None, iter(self.content.items())


def test_attributes_that_hide_methods_change_nothing(tmp_path: Path, state: dict[str, Any]) -> None:
    parameter = nn.Parameter(state["norm.bias"])
    for name in ("detach", "isfinite", "copy_", "numel", "element_size"):
        setattr(parameter, name, "hidden")
    state["norm.bias"] = parameter
    (tmp_path / "a").write_bytes(pickled(Masked(state)))
    assert torch.load(tmp_path / "a", weights_only=True).items == "hidden"
    assert torch.equal(load_checkpoint(tmp_path / "a")[1]["norm.bias"], parameter.data)


def test_safetensors_whose_tensors_overlap_are_refused(tmp_path: Path) -> None:
    entry = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    header = json.dumps({"norm.weight": entry, "norm.bias": entry}).encode()
    content = struct.pack("<Q", len(header)) + header + bytes(16)
    assert_damaged(tmp_path / "a", content, "damaged or incomplete")


def test_safetensors_that_claim_more_than_the_file_are_refused(tmp_path: Path) -> None:
    entry = {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}
    header = json.dumps({"norm.weight": entry}).encode()
    assert_damaged(
        tmp_path / "a", struct.pack("<Q", len(header)) + header + bytes(16), "damaged or incomplete"
    )


@pytest.fixture(scope="module")
def sound_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("sound")
    save_checkpoint(folder / "ours", CONFIG, weights(), metadata={"steps": "3"})
    write_official(folder / "zip", CONFIG, weights(), training_size_px=4)
    legacy = pickled({"params": weights()}, _use_new_zipfile_serialization=False)
    return {"ours": (folder / "ours").read_bytes(), "zip": (folder / "zip").read_bytes(), "legacy": legacy}


KINDS = ("ours", "zip", "legacy")


@pytest.mark.parametrize("kind", KINDS)
def test_truncation_at_any_length_is_refused(
    tmp_path: Path, sound_files: dict[str, bytes], kind: str
) -> None:
    content = sound_files[kind]
    lengths = {*range(20), *range(20, len(content), len(content) // 150), len(content) - 1}
    for length in sorted(lengths):
        refusal(tmp_path / "a", content[:length])


@pytest.mark.parametrize("kind", KINDS)
def test_damage_anywhere_is_refused_or_harmless(
    tmp_path: Path, sound_files: dict[str, bytes], kind: str
) -> None:
    """Where a flipped bit still leaves a file of finite numbers, they are loaded; nothing else may escape."""
    content = sound_files[kind]
    # The values themselves can be anything, so the damage of ours is done where its structure is described.
    end = int.from_bytes(content[:8], "little") + 8 if kind == "ours" else len(content)
    generator = random.Random(0)
    num_refused = 0
    for _ in range(MUTATIONS):
        damaged = bytearray(content)
        start = generator.randrange(end)
        match generator.randrange(3):
            case 0:
                damaged[start] ^= 1 << generator.randrange(8)
            case 1:
                del damaged[start : start + generator.randrange(1, 30)]
            case _:
                damaged[start:start] = generator.randbytes(generator.randrange(1, 30))
        (tmp_path / "a").write_bytes(damaged)
        try:
            load_checkpoint(tmp_path / "a")
        except CheckpointError:
            num_refused += 1
    assert num_refused > MUTATIONS // 2


def test_a_flipped_bit_of_a_value_in_an_archive_is_damage(tmp_path: Path, state: dict[str, Any]) -> None:
    content = bytearray(pickled({"params": state}))
    values = state["norm.bias"].numpy().tobytes()
    content[content.index(values) + 1] ^= 1
    assert_damaged(tmp_path / "a", bytes(content), "the checksum of 'archive/data/")


def test_archive_that_was_written_without_checksums_is_read(tmp_path: Path, state: dict[str, Any]) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state, tmp_path / "a")
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(load_checkpoint(tmp_path / "a")[1]["norm.bias"], state["norm.bias"])


def test_damage_that_python_would_warn_about_is_refused_silently(tmp_path: Path) -> None:
    assert_damaged(tmp_path / "a", b"\x80\x02S'\\\x89'\n.", "damaged")
