"""The public name of `method.rewriting`, where the method stands on one screen."""

from dar_search.method.rewriting import rewrite

__all__ = ["rewrite"]
