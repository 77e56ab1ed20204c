"""From a picture's bytes to pixels, in processes of their own. Nothing is imported here: they must stay light."""
