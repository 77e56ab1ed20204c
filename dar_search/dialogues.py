"""Reading dialogues."""
