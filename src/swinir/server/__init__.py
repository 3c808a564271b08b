"""The service: a page to drop pictures on, and an HTTP interface, in one process."""

from swinir.server.options import ServerOptions

__all__ = ["ServerOptions"]
