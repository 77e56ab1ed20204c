"""Values as they were given: dates in text, whole numbers of any size, numbers of any type."""
