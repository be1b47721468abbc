"""Which convention prints a number: its digits read, every candidate weighed, what fits in order of what it assumes."""
