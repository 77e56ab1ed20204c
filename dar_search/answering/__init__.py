"""DAR under a deadline: an answer by its time, what it says of itself, and what was searched and chosen."""
