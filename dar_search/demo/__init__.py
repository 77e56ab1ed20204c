"""A world that the project draws itself, with ground truth, and the small models trained on it."""
