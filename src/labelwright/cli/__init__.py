"""The command line: parses, calls one verb, prints."""

from labelwright.cli.main import main

__all__ = ["main"]
