"""The service on Ray Serve: replicas on one machine or many behind Serve's proxy.

``serve run swinir.server.ray:app replicas=4 models=real-x4`` starts it. Replicas share nothing, so they answer what
needs no memory of earlier requests: ``/v1/restore``, ``/v1/models``, ``/health``, ``/ready``, ``/metrics``.
"""

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from ray import serve

from swinir.errors import UsageError
from swinir.options import RestorerOptions
from swinir.server.app import create_app
from swinir.server.options import TOKEN_VARIABLE, ServerOptions

# A replica restores one picture at a time; those behind it are read meanwhile, and wait no longer than needed.
REQUESTS_OF_REPLICA = 8


class Arguments(BaseModel):
    """What ``serve run`` takes as NAME=VALUE.

    Attributes:
        replicas: processes that restore.
        gpus: GPUs of each; 0 for CPUs.
        cpus: processors that Ray counts for each.
        models: names that clients may choose, with commas between them; empty for all that are there.
        allowed_hosts: names beside the loopback ones under which clients reach the service, with commas; they need
            a token (SWINIR_TOKEN).
        root_path: prefix that a proxy in front takes off.
    """

    model_config = ConfigDict(extra="forbid")

    replicas: int = Field(default=1, ge=1)
    gpus: float = Field(default=0, ge=0)
    cpus: float = Field(default=1, ge=0)
    models: str = ""
    allowed_hosts: str = ""
    root_path: str = ""

    def options(self, token: str | None) -> ServerOptions:
        """Return the options of each replica.

        Raises:
            UsageError: names beyond loopback are given, and no token.
        """
        hosts = split(self.allowed_hosts)
        if hosts and token is None:
            raise UsageError(f"clients of other machines need a token: set {TOKEN_VARIABLE}")
        return ServerOptions(
            models=split(self.models),
            allowed_hosts=hosts,
            token=token,
            root_path=self.root_path,
            restorer=RestorerOptions(device="cuda" if self.gpus else "auto"),
            max_queue=REQUESTS_OF_REPLICA,
        )


class Replica:
    """One process that restores: the service without jobs that are kept, and with a folder that ends with it."""

    def __init__(self, options: ServerOptions) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="swinir-")
        self._options = replace(options, data=Path(self._folder.name))

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Return what answers requests; Serve begins and ends it."""
        return create_app(self._options, keeps_jobs=False)


def app(arguments: Arguments) -> Any:
    """Return Serve's application.

    Raises:
        UsageError: an option is impossible.
    """
    options = arguments.options(os.environ.get(TOKEN_VARIABLE) or None)
    ingress: Any = serve.ingress()(Replica)
    deployment: Any = serve.deployment(
        ingress,
        name="swinir",
        num_replicas=arguments.replicas,
        max_ongoing_requests=REQUESTS_OF_REPLICA,
        ray_actor_options={"num_cpus": arguments.cpus, "num_gpus": arguments.gpus},
    )
    return deployment.bind(options)


def split(text: str) -> tuple[str, ...]:
    """Return what stands between commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
