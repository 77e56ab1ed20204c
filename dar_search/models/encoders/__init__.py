"""Encoders: vision-language models with one space for texts and pictures."""
