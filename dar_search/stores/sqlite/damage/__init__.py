"""A file that is damaged: a log that lost writes, what is whole of an index, and saving it."""
