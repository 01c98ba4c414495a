"""`python -m samplewise` is the `samplewise` command."""

from samplewise.cli import main

if __name__ == "__main__":
    main()
