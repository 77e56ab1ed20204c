"""Reformulators: text out of a dialogue, by rules, a chat model or an endpoint."""
