"""Asking a running query service from Python. It loads no model library."""

from dar_search.client.client import API, KEY_HEADER, DarClient

__all__ = ["API", "KEY_HEADER", "DarClient"]
