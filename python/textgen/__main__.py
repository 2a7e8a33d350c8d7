"""The program `textgen`."""

import signal
import sys
from typing import NoReturn

from ._textgen import main as _main


def main() -> NoReturn:
    """Runs the command line as the program does, and ends with its exit code."""
    # As in the program, Ctrl-C ends at once, unless it is training, or was ignored from the start.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(_main(["textgen", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
