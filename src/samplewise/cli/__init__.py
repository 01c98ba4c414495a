"""The command line: a thin skin over the functions of the library."""

from samplewise.cli.main import main

__all__ = ["main"]
