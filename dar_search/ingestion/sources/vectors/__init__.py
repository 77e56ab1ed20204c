"""Vectors that exist already: where they lie, and reading them. `SourceItem.vector` says where a picture's own is."""
