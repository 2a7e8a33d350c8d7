#!/usr/bin/env python3
"""Where the time of a training step goes: samples of perf, sorted by what the program was doing.

    CARGO_PROFILE_RELEASE_STRIP=none CARGO_PROFILE_RELEASE_DEBUG=line-tables-only \\
        cargo bench --bench training --no-run
    bench/step_profile.py target/release/deps/training-… RUN-FOLDER

Everything after the script's name is the command that perf records; `--data FILE` reads an earlier
recording instead. Needs perf (Debian: linux-perf) and works without hardware counters.
"""

from __future__ import annotations

import collections
import subprocess
import sys
import tempfile
from pathlib import Path

# The first row whose words all stand in a sample's stack of functions is what it counts for.
PARTS = [
    (("accumulate", "forward::Slice"), "products: layers, forward"),
    (("accumulate", "add_product"), "products: recurrent, backward"),
    (("accumulate", "backward::product"), "products: inputs and head, backward"),
    (("accumulate", "weights::Job"), "products: gradients of weights"),
    (("accumulate",), "products: head and other linear layers, forward"),
    (("transpose",), "transposing"),
    (("weights::turned",), "transposing"),
    (("weights::Job", "::stack"), "stacking the gates' gradients"),
    (("_saving",), "cells, forward"),
    (("lstm_backward",), "cells, backward"),
    (("gru_backward",), "cells, backward"),
    (("rnn_backward",), "cells, backward"),
    (("add_tokens",), "tokens' columns of gradients"),
    (("cross_entropy",), "softmax with cross-entropy"),
    (("adam",), "norm, clipping and the optimizer"),
    (("add_squares",), "norm, clipping and the optimizer"),
    (("dropout",), "dropout"),
    (("PanelMut",), "packing and clearing"),
    (("fill",), "packing and clearing"),
    (("Shared::serve",), "threads that wait"),
    (("wait_until",), "threads that wait"),
    (("forward::Slice",), "copies in a step forward"),
]


def part_of(stack: str) -> str:
    """What a sample with these functions counts for."""
    return next((name for words, name in PARTS if all(word in stack for word in words)), "the rest")


def main() -> None:
    """Records the command, or reads a recording, and prints the shares."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "perf.data"
        if arguments[0] == "--data":
            data = Path(arguments[1])
        else:
            record = ["perf", "record", "-e", "cpu-clock", "-F", "2000", "--call-graph",
                      "dwarf,2048", "-o", str(data), "--", *arguments]
            subprocess.run(record, check=True)
        script = ["perf", "script", "-i", str(data), "-F", "ip,sym"]
        text = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    stacks = [stack for stack in text.split("\n\n") if stack.strip()]
    shares = collections.Counter(part_of(stack) for stack in stacks)
    for name, count in shares.most_common():
        print(f"{100 * count / len(stacks):5.1f} %  {name}")


if __name__ == "__main__":
    main()
