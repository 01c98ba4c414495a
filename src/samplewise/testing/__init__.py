"""Contract checks of every room."""
