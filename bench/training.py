#!/usr/bin/env python3
"""Measures training side by side: textgen and eager PyTorch, in turn, in one session.

    PEER=peer/bin/python bench/training.py            everything; writes bench/RESULTS.md
    PEER=peer/bin/python bench/training.py --quick    a rough look; prints the report
    PEER=peer/bin/python bench/training.py --words names.txt
    PEER=peer/bin/python bench/training.py --case lstm-512x2

PEER is a Python that can import torch; without one only textgen is measured. README.md beside
this file says what is measured and how. Needs cargo and libtorch, and nothing but Python's
standard library.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from driver import (
    PAUSE, ROOT, BenchError, Key, Options, Server, Setting, available_cores, bold, built,
    busy_seconds, commit, deliver, ended, has_torch, plural, rate_text, ratio_cells, ratio_text,
    share_of_others, start_peer, table, take_turns, wanted_text,
)
from networks import (
    LAYER_READS, TOKENS, TEXT_BATCH, WORD_BATCH, WORD_LETTERS, Case, Layer, Training, all_layers,
    all_trainings, prepare, random_text, write_words,
)

# Ratios to PyTorch that are wanted, by layers.
WANTED = {1: 2.0, 2: 1.7}
WANTED_OF_WORDS = 2.0
# The share of a large product's rate wanted at this hidden size.
WANTED_SHARE, WANTED_SHARE_AT = 0.75, 512

LAYER_SHARE = 0.2  # of another measurement's time that a recurrent network alone gets

# As `textgen train` starts its trainer, which waits for its threads without spinning for long.
ENVIRONMENT = {"GOMP_SPINCOUNT": "1000"}
# Seconds for which training goes on before its memory is read, if three steps take less.
MEMORY_SECONDS = 0.2


# Measuring.


class Session:
    """Both sides and what they have answered: one number a round under each key."""

    def __init__(self, sides: Sides, folder: Path, runs: dict[Training, Path], seconds: float,
                 cores: int) -> None:
        self.sides, self.folder, self.runs = sides, folder, runs
        self.seconds, self.cores = seconds, cores
        self.rates: dict[Key, list[float]] = defaultdict(list)
        self.memory: dict[Key, Memory] = {}

    def measure(self, case: Case) -> None:
        """One round of one case."""
        if isinstance(case, Layer):
            self.measure_layer(case)
        else:
            self.measure_training(case)

    def measure_training(self, case: Training) -> None:
        """The peer, what the machine can do at that moment, and ours."""
        time_and_threads = {"seconds": self.seconds, "threads": self.cores}
        unit = "words_per_second" if case.model == "word-vae" else "chars_per_second"
        peer = self.sides.peer
        if peer:
            for reads, request in self.peer_requests(case):
                answer = peer.ask(**request, **time_and_threads)
                self.rates[case, reads].append(answer[unit])
            if case.model == "char-lstm":
                answer = peer.ask(what="gemm", seconds=self.seconds / 2, threads=self.cores)
                self.rates[case, "gemm"].append(answer["flops_per_second"])
            time.sleep(PAUSE)
        answer = self.sides.ours.ask(what="train", run=str(self.runs[case]), **time_and_threads)
        self.rates[case, "ours"].append(answer[unit])

    def peer_requests(self, case: Training) -> Iterator[tuple[str, dict[str, Any]]]:
        """What the peer reads: the like of what we read first."""
        if case.model == "word-vae":
            yield "words", case.request(word_list=str(self.folder / "words.txt"))
            yield "fixed", case.request(seq=WORD_LETTERS, vocab=32)
        else:
            yield "text", case.request(seq=case.seq, vocab=len(TOKENS))

    def measure_layer(self, case: Layer) -> None:
        """Both kinds of operators, which take turns by themselves."""
        answer = self.sides.layers.ask(
            what="layer", **asdict(case), inputs=LAYER_READS[case.reads], threads=self.cores,
            seconds=self.seconds * LAYER_SHARE,
        )
        ratio = answer["libtorch_seconds"] / answer["native_seconds"]
        self.rates[case, "ratio"].append(ratio)

    def measure_memory(self, case: Training) -> None:
        """The memory of either side in a process of its own."""
        more = {"seconds": MEMORY_SECONDS, "threads": self.cores}
        ours = {"what": "train", "run": str(self.runs[case]), **more}
        self.memory[case, "ours"] = memory_of(self.sides.start_ours, ours)
        if self.sides.start_peer:
            request = next(self.peer_requests(case))[1]
            self.memory[case, "peer"] = memory_of(self.sides.start_peer, {**request, **more})

    def cost(self, case: Case) -> float:
        """Seconds that a round of the case takes, roughly."""
        if isinstance(case, Layer):
            return self.seconds * LAYER_SHARE
        peer = len(list(self.peer_requests(case))) if self.sides.peer else 0
        if case.model == "word-vae":
            return self.seconds * (1 + peer)
        # Four steps at the fewest, at a rate that any machine has; the peer's take twice as long.
        steps = 4 * case.flops * case.batch * case.seq / (50e9 * self.cores)
        return max(self.seconds, steps) + peer * max(1.5 * self.seconds, 2 * steps)


@dataclass(frozen=True)
class Sides:
    """The programs that answer; `layers` is textgen with AVX2 at the most."""

    ours: Server
    layers: Server
    peer: Server | None
    start_ours: Callable[[], Server]
    start_peer: Callable[[], Server] | None


@dataclass(frozen=True)
class Memory:
    """Resident bytes of a process before it has a model, and at the most while it trains."""

    before: int
    peak: int

    @property
    def grown(self) -> int:
        """What training has added."""
        return self.peak - self.before


def memory_of(start: Callable[[], Server], request: dict[str, Any]) -> Memory:
    """The memory that a request takes in a new process."""
    with start() as server:
        before = server.ask(what="memory")["resident_bytes"]
        server.ask(**request)
        peak = server.ask(what="memory")["peak_bytes"]
    if before is None or peak is None:
        raise BenchError("this system does not say how much memory a process takes")
    return Memory(before, peak)


# The report.


def wanted(case: Training) -> float:
    """The ratio to PyTorch that is wanted."""
    return WANTED_OF_WORDS if case.model == "word-vae" else WANTED[case.layers]


def texts_text(session: Session, cases: list[Training]) -> str:
    """The table of the char-lstms."""
    head = ["cell, hidden × layers", "batch × T", "PyTorch, chars/s", "textgen, chars/s", "ratio",
            "min…max", "wanted", "GFLOP/s", "share of product"]
    body = []
    for case in cases:
        ours, peer, gemm = (session.rates.get((case, who), []) for who in ("ours", "text", "gemm"))
        rate = statistics.median(ours)
        share = "–"
        if gemm:
            part = rate * case.flops / statistics.median(gemm)
            reached = case.hidden == WANTED_SHARE_AT and part >= WANTED_SHARE
            share = f"{bold(f'{part:.0%}', reached)} of {statistics.median(gemm) / 1e9:.0f}"
        body.append([
            f"{case.cell.upper()} {case.hidden} × {case.layers}", f"{case.batch} × {case.seq}",
            rate_text(statistics.median(peer) if peer else None), rate_text(rate),
            *ratio_cells(ours, peer, wanted(case)), wanted_text(wanted(case)),
            f"{rate * case.flops / 1e9:.1f}", share,
        ])
    return table(head, body)


def words_text(session: Session, cases: list[Training]) -> str:
    """The table of the word-vaes."""
    head = ["hidden", "PyTorch reads", "PyTorch, words/s", "textgen, words/s", "ratio", "min…max",
            "wanted"]
    reads = {"words": "words, padded to the longest of a batch",
             "fixed": f"{WORD_LETTERS} tokens each"}
    body = []
    for case in cases:
        ours = session.rates[case, "ours"]
        for kind, text in reads.items():
            peer = session.rates.get((case, kind), [])
            body.append([
                str(case.hidden), text, rate_text(statistics.median(peer) if peer else None),
                rate_text(statistics.median(ours)), *ratio_cells(ours, peer, wanted(case)),
                wanted_text(wanted(case)),
            ])
    return table(head, body)


def memory_text(session: Session, cases: list[Training]) -> str:
    """The table of memory."""
    head = ["network", "PyTorch, before", "peak", "by training", "textgen, before", "peak",
            "by training", "peak to PyTorch's", "by training to PyTorch's"]
    body = []
    for case in cases:
        ours, peer = (session.memory.get((case, who)) for who in ("ours", "peer"))
        cells = [
            f"{size / 1e6:,.0f}" if size is not None else "–"
            for memory in (peer, ours)
            for size in ((memory.before, memory.peak, memory.grown) if memory else (None,) * 3)
        ]
        ratios = ["–", "–"]
        if ours and peer:
            found = (ours.peak / peer.peak, ours.grown / peer.grown)
            ratios = [bold(f"{ratio:.2f}×", ratio <= 1) for ratio in found]
        body.append([str(case), *cells, *ratios])
    return table(head, body)


def fine_ratio(ratio: float) -> str:
    """Two decimals near 1."""
    return f"{ratio:.2f}" if ratio < 2 else ratio_text(ratio)


def layers_text(session: Session, cases: list[Layer]) -> str:
    """The table of recurrent networks alone: one row a network, one column a size and input."""
    columns = list(dict.fromkeys((case.reads, case.batch, case.seq) for case in cases))
    sizes = [f"{reads}, {batch} × {seq}" for reads, batch, seq in columns]
    body: dict[str, list[str]] = {}
    for case in cases:
        row = body.setdefault(f"{case.cell.upper()} {case.hidden} × {case.layers}", [])
        ratios = session.rates[case, "ratio"]
        ratio = statistics.median(ratios)
        mark = "" if ratio >= 1 else " **(slower)**"
        spread = f"{fine_ratio(min(ratios))}…{fine_ratio(max(ratios))}"
        row.append(f"{fine_ratio(ratio)}× ({spread}){mark}")
    lines = [[network, *cells] for network, cells in body.items()]
    return table(["cell, hidden × layers", *sizes], lines)


FORMULA = f"""\
A step on {TEXT_BATCH} texts: forward, loss, backward, clipping by the norm, AMSGrad; vocabulary
V = {len(TOKENS)}. GFLOP/s are textgen's: characters a second times 6·((2·L − 1)·G·H·H + H·V);
G is 4 for an LSTM and 3 for a GRU; each weight is multiplied and added once forward and twice
backward, and one-hot input counts nothing. The product is PyTorch's, of two matrices of
2048 × 2048 in f32 on all cores, measured beside every row: 75% of 120 are 90 GFLOP/s. Wanted is
{WANTED_SHARE:.0%} at hidden size {WANTED_SHARE_AT}."""

MEMORY = """\
Megabytes resident, in a new process for every row: before it has a model, which on PyTorch's side
is Python with torch imported, and at the most while it trains. Wanted is no more than PyTorch's."""


def sections(session: Session, cases: list[Case], words: str, level: str) -> Iterator[str]:
    """One part a topic, those left out that were not measured."""
    trainings = [case for case in cases if isinstance(case, Training)]
    texts = [case for case in trainings if case.model == "char-lstm"]
    of_words = [case for case in trainings if case.model == "word-vae"]
    layers = [case for case in cases if isinstance(case, Layer)]
    if texts:
        yield f"### char-lstm\n\n{FORMULA}\n\n{texts_text(session, texts)}"
    if of_words:
        about = (f"Words of {words}. A step on {WORD_BATCH} of them, with Adam;\nGRU, embedding and"
                 " latent size 32. PyTorch's batches are drawn at random; textgen's words stand\nby"
                 " length and are not padded.")
        yield f"### word-vae\n\n{about}\n\n{words_text(session, of_words)}"
    if trainings and session.memory:
        yield f"### Memory\n\n{MEMORY}\n\n{memory_text(session, trainings)}"
    if layers:
        about = (f"Forward and backward pass at the level {level}: the time of libtorch's own"
                 " operators, which\nuse what the machine has, to that of textgen's. Sizes are"
                 f" texts × tokens; one-hot tokens of\n{LAYER_READS['tokens']}, or vectors of"
                 f" {LAYER_READS['vectors']} that have a gradient. Wanted is 1 at the least"
                 " everywhere.")
        yield f"### Recurrent layers alone\n\n{about}\n\n{layers_text(session, layers)}"


LEGEND = """\
Medians over the rounds; in each round both sides took turns at every row, on all cores. The ratio
is that of the medians, min…max its range over the rounds; bold reaches what is wanted. How it is
measured: [README.md](README.md)."""


# The command line.


def case_of(text: str) -> str:
    """One of the cases by its name."""
    valid = [*map(str, all_trainings()), "layers"]
    if text not in valid:
        raise argparse.ArgumentTypeError(f"{text}: not one of {', '.join(valid)}")
    return text


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", type=case_of, action="append", metavar="NAME",
                        help="only this one, such as gru-256x1, words-128 or layers; may be given "
                        "again")
    parser.add_argument("--words", type=Path, metavar="FILE",
                        help="words to train on, one a line; default: made up")
    Options.add(parser, seconds=1.0)
    return parser.parse_args()


def chosen(names: list[str] | None) -> list[Case]:
    """The cases of these names, or all."""
    trainings = [case for case in all_trainings() if not names or str(case) in names]
    layers = all_layers() if not names or "layers" in names else []
    return [*trainings, *layers]


def layer_level() -> dict[str, str]:
    """The SIMD level of recurrent layers alone: AVX2, where another is not asked for."""
    if platform.machine() in ("x86_64", "AMD64") and "TEXTGEN_SIMD" not in os.environ:
        return {"TEXTGEN_SIMD": "avx2"}
    return {}


def start(stack: ExitStack, trainer: str, python: str | None) -> Sides:
    """Starts all programs, which end with the stack."""
    def ours() -> Server:
        return Server("textgen", [trainer, "bench", "--serve"], **ENVIRONMENT)

    def peer() -> Server:
        return start_peer(python or "")

    # Its threads wait as libtorch's do by themselves, which its own operators are made for.
    layers = Server("textgen", [trainer, "bench", "--serve"], **layer_level())
    return Sides(
        stack.enter_context(ours()),
        stack.enter_context(layers),
        stack.enter_context(peer()) if python else None,
        ours,
        peer if python else None,
    )


def prepare_all(program: str, folder: Path, cases: list[Case]) -> dict[Training, Path]:
    """The runs of all cases."""
    random_text(folder / "text.txt", 400_000)
    runs = {}
    for case in cases:
        if isinstance(case, Training):
            print(f"bench: preparing {case}", file=sys.stderr)
            runs[case] = prepare(program, folder, case)
    return runs


def bench() -> None:
    """Measures and reports."""
    given = arguments()
    options, cores, cases = Options.of(given), available_cores(), chosen(given.case)
    cargo = [str(ROOT / "torch" / "find-libtorch"), "cargo", "build", "--release", "--workspace"]
    program, trainer = built(cargo, "textgen", "textgen-torch")
    python = options.peer if has_torch(options.peer) else None
    before = busy_seconds()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        count = write_words(folder / "words.txt", given.words)
        source = given.words.name if given.words else "a list made up"
        words = f"{source}, {count:,} without repetition"
        runs = prepare_all(program, folder, cases)
        sides = start(stack, trainer, python)
        about, level = sides.ours.ask(what="about"), sides.layers.ask(what="about")["simd"]
        torch = f"PyTorch {sides.peer.ask(what='about')['torch']}" if sides.peer else \
            "PyTorch not measured"
        session = Session(sides, folder, runs, options.seconds, cores)
        take_turns(cases, options.rounds, session.measure, session.cost)
        for case in runs:
            print(f"bench: memory of {case}", file=sys.stderr)
            session.measure_memory(case)
    others = share_of_others(before, cores)
    programs = (f"textgen {about['version']}{commit()}, SIMD level {about['simd']}, libtorch"
                f" {about['libtorch']}; {torch}; {plural(cores, 'thread')} on either side")
    command = "bench/training.py" + (f" --words {given.words.name}" if given.words else "")
    setting = Setting(programs, command, cores, others, options)
    parts = sections(session, cases, words, level)
    text = "\n\n".join(["## Training", setting.text(), LEGEND, *parts])
    deliver("training", text, session.rates, options, bool(python) and not given.case)


if __name__ == "__main__":
    sys.exit(ended(bench))
