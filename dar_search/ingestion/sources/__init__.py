"""Where pictures come from: kinds of sources, and reading what they list. Nothing is imported here."""
