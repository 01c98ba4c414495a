"""How good a choice is: pure functions on arrays."""
