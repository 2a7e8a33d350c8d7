"""What goes wrong, in the words of the program."""

from __future__ import annotations


class Error(ValueError):
    """What textgen could not do, and why; after that, on a line of its own, a hint, if there is one.

    The hint names flags of the program. Each is a keyword argument, with underscores: --on-unknown is on_unknown.
    """

    hint: str | None

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message}\nhint: {hint}")
        self.hint = hint


class MissingError(Error, FileNotFoundError):
    """There is no such file, run or corpus."""


# The name under which everybody knows them.
Error.__module__ = MissingError.__module__ = "textgen"
