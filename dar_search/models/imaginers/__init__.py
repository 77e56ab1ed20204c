"""Imaginers: what a prompt looks like, as embeddings; and the caches that keep imaginations."""
