#!/usr/bin/env python3
"""Measures training side by side: textgen and eager PyTorch, in turn, in one session.

    PEER=peer/bin/python bench/training.py            everything; writes bench/RESULTS.md
    PEER=peer/bin/python bench/training.py --quick    a rough look; prints the report
    PEER=peer/bin/python bench/training.py --words names.txt
    PEER=peer/bin/python bench/training.py --case lstm-512x2

PEER is a Python that can import torch; without one only textgen is measured. README.md beside
this file says what is measured and how. Needs cargo, and nothing but Python's standard library.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driver import (
    PAUSE, BenchError, Key, Options, Server, Setting, available_cores, bold, built,
    busy_seconds, commit, deliver, ended, has_torch, plural, rate_text, ratio_cells, ratio_text,
    share_of_others, start_peer, table, take_turns, wanted_text,
)
from networks import (
    TOKENS, TEXT_BATCH, WORD_BATCH, WORD_LETTERS, Training, all_trainings, prepare, random_text,
    write_words,
)

# Ratios to PyTorch that are wanted, by hidden size; elsewhere the share of a product decides.
WANTED = {128: 2.3}
WANTED_OF_WORDS = 2.5
# The share of a large product's rate wanted, by hidden size.
WANTED_SHARE = {128: 0.82, 256: 0.92, 512: 0.92}

# Seconds for which training goes on before its memory is read, if three steps take less.
MEMORY_SECONDS = 0.2


# Measuring.


class Session:
    """Both sides and what they have answered: one number a round under each key."""

    def __init__(self, sides: Sides, folder: Path, runs: dict[Training, Path], seconds: float,
                 cores: int, precision: str) -> None:
        self.sides, self.folder, self.runs = sides, folder, runs
        self.seconds, self.cores, self.precision = seconds, cores, precision
        self.rates: dict[Key, list[float]] = defaultdict(list)
        self.memory: dict[Key, Memory] = {}

    def measure(self, case: Training) -> None:
        """One round of one case: the peer, what the machine can do at that moment, and ours."""
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
        answer = self.sides.ours.ask(**self.our_request(case), **time_and_threads)
        self.rates[case, "ours"].append(answer[unit])

    def our_request(self, case: Training) -> dict[str, Any]:
        """What textgen trains."""
        return {"what": "train", "run": str(self.runs[case]), "precision": self.precision}

    def peer_requests(self, case: Training) -> Iterator[tuple[str, dict[str, Any]]]:
        """What the peer reads: the like of what we read first."""
        if case.model == "word-vae":
            yield "words", case.request(word_list=str(self.folder / "words.txt"))
            yield "fixed", case.request(seq=WORD_LETTERS, vocab=32)
        else:
            yield "text", case.request(seq=case.seq, vocab=len(TOKENS))

    def measure_memory(self, case: Training) -> None:
        """The memory of either side in a process of its own."""
        more = {"seconds": MEMORY_SECONDS, "threads": self.cores}
        ours = {**self.our_request(case), **more}
        self.memory[case, "ours"] = memory_of(self.sides.start_ours, ours)
        if self.sides.start_peer:
            request = next(self.peer_requests(case))[1]
            self.memory[case, "peer"] = memory_of(self.sides.start_peer, {**request, **more})

    def cost(self, case: Training) -> float:
        """Seconds that a round of the case takes, roughly."""
        peer = len(list(self.peer_requests(case))) if self.sides.peer else 0
        if case.model == "word-vae":
            return self.seconds * (1 + peer)
        # Four steps at the fewest, at a rate that any machine has; the peer's take twice as long.
        steps = 4 * case.flops * case.batch * case.seq / (50e9 * self.cores)
        return max(self.seconds, steps) + peer * max(1.5 * self.seconds, 2 * steps)


@dataclass(frozen=True)
class Sides:
    """The programs that answer."""

    ours: Server
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


def wanted(case: Training) -> float | None:
    """The ratio to PyTorch that is wanted."""
    return WANTED_OF_WORDS if case.model == "word-vae" else WANTED.get(case.hidden)


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
            reached = part >= WANTED_SHARE[case.hidden]
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


FORMULA = f"""\
A step on {TEXT_BATCH} texts: forward, loss, backward, clipping by the norm, AMSGrad; vocabulary
V = {len(TOKENS)}. GFLOP/s are textgen's: characters a second times 6·((2·L − 1)·G·H·H + H·V);
G is 4 for an LSTM and 3 for a GRU; each weight is multiplied and added once forward and twice
backward, and one-hot input counts nothing. The product is PyTorch's, of two matrices of
2048 × 2048 in f32 on all cores, measured beside every row: 75% of 120 are 90 GFLOP/s. Wanted are
{WANTED_SHARE[128]:.0%} at hidden size 128, {WANTED_SHARE[256]:.0%} at 256 and {WANTED_SHARE[512]:.0%} at 512."""

MEMORY = """\
Megabytes resident, in a new process for every row: before it has a model, which on PyTorch's side
is Python with torch imported, and at the most while it trains. Wanted is no more than PyTorch's."""


def sections(session: Session, cases: list[Training], words: str) -> Iterator[str]:
    """One part a topic, those left out that were not measured."""
    texts = [case for case in cases if case.model == "char-lstm"]
    of_words = [case for case in cases if case.model == "word-vae"]
    if texts:
        yield f"### char-lstm\n\n{FORMULA}\n\n{texts_text(session, texts)}"
    if of_words:
        about = (f"Words of {words}. A step on {WORD_BATCH} of them, with Adam;\nGRU, embedding and"
                 " latent size 32. PyTorch's batches are drawn at random; textgen's words stand\nby"
                 " length and are not padded.")
        yield f"### word-vae\n\n{about}\n\n{words_text(session, of_words)}"
    if session.memory:
        yield f"### Memory\n\n{MEMORY}\n\n{memory_text(session, cases)}"


LEGEND = """\
Medians over the rounds; in each round both sides took turns at every row, on all cores. The ratio
is that of the medians, min…max its range over the rounds; bold reaches what is wanted. How it is
measured: [README.md](README.md)."""


# The command line.


def case_of(text: str) -> str:
    """One of the cases by its name."""
    valid = [str(case) for case in all_trainings()]
    if text not in valid:
        raise argparse.ArgumentTypeError(f"{text}: not one of {', '.join(valid)}")
    return text


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", type=case_of, action="append", metavar="NAME",
                        help="only this one, such as gru-256x1 or words-128; may be given again")
    parser.add_argument("--words", type=Path, metavar="FILE",
                        help="words to train on, one a line; default: made up")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32",
                        help="of textgen's products; bf16 needs a CPU with AVX512_BF16")
    Options.add(parser, seconds=1.0)
    return parser.parse_args()


def start(stack: ExitStack, server: str, python: str | None) -> Sides:
    """Starts both programs, which end with the stack."""
    def ours() -> Server:
        return Server("textgen", [server, "--serve"])

    def peer() -> Server:
        return start_peer(python or "")

    return Sides(
        stack.enter_context(ours()),
        stack.enter_context(peer()) if python else None,
        ours,
        peer if python else None,
    )


def prepare_all(program: str, folder: Path, cases: list[Training]) -> dict[Training, Path]:
    """The runs of all cases."""
    random_text(folder / "text.txt", 400_000)
    runs = {}
    for case in cases:
        print(f"bench: preparing {case}", file=sys.stderr)
        runs[case] = prepare(program, folder, case)
    return runs


def bench() -> None:
    """Measures and reports."""
    given = arguments()
    options, cores = Options.of(given), available_cores()
    cases = [case for case in all_trainings() if not given.case or str(case) in given.case]
    program = built(["cargo", "build", "--release"], "textgen")[0]
    server = built(["cargo", "bench", "--bench", "training", "--no-run"], "training")[0]
    python = options.peer if has_torch(options.peer) else None
    before = busy_seconds()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        count = write_words(folder / "words.txt", given.words)
        source = given.words.name if given.words else "a list made up"
        words = f"{source}, {count:,} without repetition"
        runs = prepare_all(program, folder, cases)
        sides = start(stack, server, python)
        about = sides.ours.ask(what="about")
        torch = f"PyTorch {sides.peer.ask(what='about')['torch']}" if sides.peer else \
            "PyTorch not measured"
        session = Session(sides, folder, runs, options.seconds, cores, given.precision)
        take_turns(cases, options.rounds, session.measure, session.cost)
        for case in runs:
            print(f"bench: memory of {case}", file=sys.stderr)
            session.measure_memory(case)
    others = share_of_others(before, cores)
    programs = (f"textgen {about['version']}{commit()}, SIMD level {about['simd']};"
                f" {torch}; {plural(cores, 'thread')} on either side")
    command = "bench/training.py" + (f" --words {given.words.name}" if given.words else "")
    command += " --precision bf16" if given.precision == "bf16" else ""
    setting = Setting(programs, command, cores, others, options)
    parts = sections(session, cases, words)
    text = "\n\n".join(["## Training", setting.text(), LEGEND, *parts])
    whole = bool(python) and not given.case and given.precision == "f32"
    deliver("training", text, session.rates, options, whole)


if __name__ == "__main__":
    sys.exit(ended(bench))
