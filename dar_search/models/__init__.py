"""Adapters of the model ports. Importing a module here loads no torch: that happens at a model's first use."""
