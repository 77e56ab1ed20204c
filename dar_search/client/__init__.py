"""Asking a running query service from Python. It loads no model library."""

from dar_search.client.client import DarClient

__all__ = ["DarClient"]
