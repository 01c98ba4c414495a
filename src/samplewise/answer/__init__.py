"""Which whole answers to draw, verify and keep."""
