"""The HTTP service: `create_app` makes it from a backend."""

from tunelog.server.app import create_app

__all__ = ["create_app"]
