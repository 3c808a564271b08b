"""What a service allows: every bound that stands between a request and this machine."""

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from swinir.errors import UsageError
from swinir.options import RestorerOptions

MIB = 2**20
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
# Where a client's own address is not to be trusted to be unique, a token shorter than this can be guessed.
LEAST_TOKEN_CHARACTERS = 16
TOKEN_VARIABLE = "SWINIR_TOKEN"


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Options of ``swinir serve``.

    Attributes:
        host: address to listen on; any but a loopback address needs a token.
        port: TCP port, 0 for a free one.
        data: folder of accepted jobs and their results.
        models: names that clients may choose; empty for every model that is on this machine.
        restorer: how images are restored.
        image_range: what white is inside networks whose files do not say it, 1 or 255; None for what restores a
            small picture.
        workers: passes that may run at once; they share one device.
        token: what clients send as a bearer token; None asks for none.
        allowed_hosts: names beside the loopback ones under which clients may reach the service.
        root_path: prefix that a proxy in front of the service takes off.
        max_upload_bytes: of one request's body.
        max_pixels: of an image that is read.
        max_output_pixels: of an image that is written.
        max_queue: jobs that wait; beyond them the answer is 429.
        max_job_s: seconds that restoring one image may take.
        decode_s: seconds that reading one image may take.
        decode_bytes: address space of the process that reads images.
        client_s: seconds that a client may stay silent within a request or a response.
        result_s: seconds that a finished job is kept.
        max_disk_bytes: of all jobs together.
        grace_s: seconds that running jobs are given when the service is stopped.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    data: Path = field(default_factory=lambda: Path("swinir-data"))
    models: tuple[str, ...] = ()
    restorer: RestorerOptions = field(default_factory=RestorerOptions)
    image_range: float | None = None
    workers: int = 1
    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    root_path: str = ""
    max_upload_bytes: int = 64 * MIB
    max_pixels: int = 50_000_000
    max_output_pixels: int = 400_000_000
    max_queue: int = 128
    max_job_s: float = 3600.0
    decode_s: float = 15.0
    decode_bytes: int = 4096 * MIB
    client_s: float = 12.0
    result_s: float = 3600.0
    max_disk_bytes: int = 10_240 * MIB
    grace_s: float = 25.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, int | float) and name != "port" and not value > 0:
                raise UsageError(f"{name} is {value}, but must be above 0")
        if not 0 <= self.port <= 65_535:
            raise UsageError(f"the port is {self.port}, but must be from 0 (a free one) to 65535")
        if self.token is not None and len(self.token) < LEAST_TOKEN_CHARACTERS:
            raise UsageError(
                f"the token has {len(self.token)} characters: use at least {LEAST_TOKEN_CHARACTERS}"
            )
        if self.token is None and not self.is_loopback:
            raise UsageError(
                f"{self.host} can be reached from other machines: set a token (--token, or SWINIR_TOKEN), or listen"
                " on 127.0.0.1"
            )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def hosts(self) -> frozenset[str]:
        """Names in a Host header that are answered, in lower case and without a port."""
        return frozenset(name.lower() for name in (*LOOPBACK_NAMES, *self.allowed_hosts))
