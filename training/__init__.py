"""Training of the demo bundle. Not part of the wheel."""
