"""The stages from a source to records: list, supply, decode, encode, write; and the workers that run them."""
