"""``swinir serve``: a page to drop pictures on, and an HTTP interface."""

import os
from pathlib import Path
from typing import Annotated

import typer

from swinir.cli import choices
from swinir.cli.console import out
from swinir.errors import MissingPackageError, UsageError
from swinir.options import Precision
from swinir.server.options import TOKEN_VARIABLE

MEGAPIXEL = 1_000_000


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than loopback need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="TCP port; 0 takes a free one.")] = 8000,
    models: Annotated[
        list[str] | None, typer.Option("--models", help="Models that may be chosen; give it several times.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Pictures restored at the same time on the device.")] = 1,
    data: Annotated[
        Path | None, typer.Option(help="Folder of jobs and results.", show_default="~/.cache/swinir/server")
    ] = None,
    token: Annotated[str | None, typer.Option(help=f"Bearer token; or {TOKEN_VARIABLE}.")] = None,
    allowed_hosts: Annotated[
        list[str] | None, typer.Option("--allowed-hosts", help="Names under which clients reach the service.")
    ] = None,
    root_path: Annotated[str, typer.Option(help="Prefix that a proxy takes off.")] = "",
    device: choices.Device = "auto",
    precision: choices.PrecisionOption = Precision.AUTO,
    image_range: choices.ImageRange = None,
    max_upload_mib: Annotated[int, typer.Option(help="Largest request.")] = 64,
    max_megapixels: Annotated[int, typer.Option(help="Largest picture that is read.")] = 50,
    max_output_megapixels: Annotated[int, typer.Option(help="Largest result.")] = 400,
    max_queue: Annotated[int, typer.Option(help="Pictures that may wait.")] = 128,
    keep_minutes: Annotated[float, typer.Option(help="How long results are kept.")] = 60,
    max_disk_gib: Annotated[float, typer.Option(help="Disk space of all jobs.")] = 10,
) -> None:
    """Restore pictures for a web page and for programs, on this machine.

    The page and the interface are described in docs/server.md; the interface describes itself at /openapi.json.

    Examples: `swinir serve`, `swinir serve --port 9000 --models real-x4 --models denoise`.
    """
    try:
        from swinir.server import run
    except ImportError as error:
        raise MissingPackageError(
            "the service needs packages that are not installed: pip install 'swinir[serve]'"
        ) from error
    from swinir.options import RestorerOptions
    from swinir.server import ServerOptions

    options = ServerOptions(
        host=host,
        port=port,
        data=data or default_folder(),
        models=tuple(models or ()),
        restorer=RestorerOptions(device=device, precision=precision),
        image_range=image_range,
        workers=workers,
        token=token or os.environ.get(TOKEN_VARIABLE) or None,
        allowed_hosts=tuple(allowed_hosts or ()),
        root_path=root_path.rstrip("/"),
        max_upload_bytes=max_upload_mib * 2**20,
        max_pixels=max_megapixels * MEGAPIXEL,
        max_output_pixels=max_output_megapixels * MEGAPIXEL,
        max_queue=max_queue,
        result_s=keep_minutes * 60,
        max_disk_bytes=int(max_disk_gib * 2**30),
    )
    try:
        listening = run.bind(options)
    except OSError as error:
        raise UsageError(
            f"{host} port {port} cannot be had ({error.strerror}): choose another --port"
        ) from error
    address = host if ":" not in host else f"[{host}]"
    where = f"http://{address}:{listening.getsockname()[1]}{options.root_path}/"
    run.serve(
        options,
        listening,
        on_start=lambda: out.print(f"The page is at {where} (Ctrl-C stops it).", markup=False),
    )


def default_folder() -> Path:
    """Return where jobs are kept unless a folder is named."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "swinir" / "server"
