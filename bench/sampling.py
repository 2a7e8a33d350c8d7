#!/usr/bin/env python3
"""Measures sampling side by side: textgen and eager PyTorch, in turn, in one session.

    PEER=peer/bin/python bench/sampling.py            everything; writes bench/RESULTS.md
    PEER=peer/bin/python bench/sampling.py --quick    a rough look; prints the report
    PEER=peer/bin/python bench/sampling.py --shape 256x1

PEER is a Python that can import torch; without one only textgen is measured. README.md beside
this file says what is measured and how. Needs cargo, and nothing but Python's standard library.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from driver import (
    PAUSE, BenchError, Key, Options, Server, Setting, available_cores, bold, built,
    busy_seconds, check_shares, commit, deliver, ended, has_torch, plural, rate_text,
    ratio_cells, share_of_others, start_peer, table, take_turns, wanted_text,
)

SHAPES = [(128, 1), (128, 2), (256, 1), (512, 1), (512, 2)]
GRU_SHAPES = [(256, 1), (512, 1)]
MANY = 64
WORDS_HIDDEN = 256
FORMS = {"none": "f32", "int8": "int8"}

# Ratios to PyTorch that are wanted, by the weights' form and the shape.
WANTED = {
    "none": dict(zip(SHAPES, [45, 25, 18, 8, 15])),
    "int8": dict(zip(SHAPES, [70, 45, 60, 25, 55])),
}
WANTED_OF_MANY = dict(zip(SHAPES, [8, 6, 5, 3, 2]))
# The share of the read bandwidth wanted in f32, from this many units upward.
WANTED_SHARE, WANTED_SHARE_FROM = 0.70, 256
WANTED_LETTERS = 100_000


@dataclass(frozen=True)
class Case:
    """One network and batch: the peer's measurements and ours of it stand side by side."""

    topic: str
    what: str
    cell: str
    hidden: int
    layers: int
    batch: int
    peer_threads: tuple[int, ...]
    cores: tuple[int, ...]

    def __str__(self) -> str:
        names = {"one": "one text", "many": f"{MANY} texts", "gru": "gru", "words": "words"}
        return f"{names[self.topic]}, {self.hidden}x{self.layers}"

    @property
    def shape(self) -> tuple[int, int]:
        """Hidden size and layers."""
        return self.hidden, self.layers

    def request(self, **more: Any) -> dict[str, Any]:
        """What both sides are asked."""
        request = {"what": self.what, "hidden": self.hidden, "batch": self.batch, **more}
        request["vocab"] = 96
        if self.what == "words":
            request["vocab"] = 30
        else:
            request |= {"cell": self.cell, "layers": self.layers}
        return request


def plan(cores: int, shapes: list[tuple[int, int]], words: bool) -> list[Case]:
    """Every case, in the order in which they are measured."""
    peer = tuple(sorted({1, min(2, cores), cores}))
    ours = tuple(sorted({1, cores}))
    cases = [Case("one", "sample", "lstm", *shape, 1, peer, ours) for shape in shapes]
    cases += [Case("many", "sample", "lstm", *shape, MANY, peer, (cores,)) for shape in shapes]
    gru = [shape for shape in GRU_SHAPES if shape in shapes]
    cases += [Case("gru", "sample", "gru", *shape, 1, peer, ours) for shape in gru]
    if words:
        cases += [
            Case("words", "words", "gru", WORDS_HIDDEN, 1, batch, (1,), (1,)) for batch in (1, MANY)
        ]
    return cases


class Session:
    """Both sides and what they have answered: one number a round under each key."""

    def __init__(self, ours: Server, peer: Server | None, seconds: float) -> None:
        self.ours, self.peer, self.seconds = ours, peer, seconds
        self.rates: dict[Key, list[float]] = defaultdict(list)
        self.weights: dict[Key, int] = {}
        self.levels: dict[Key, str | None] = {}

    def measure(self, case: Case) -> None:
        """One round of one case: the peer, ours, and what can be read at most."""
        if self.peer:
            for threads in case.peer_threads:
                request = case.request(threads=threads, seconds=self.seconds)
                answer = self.peer.ask(**request)
                self.rates[case, "peer", threads].append(answer["chars_per_second"])
            time.sleep(PAUSE)
        for form in FORMS:
            for cores in case.cores:
                self.measure_ours(case, form, cores)

    def measure_ours(self, case: Case, form: str, cores: int) -> None:
        """Our side in one form on so many cores, and the bandwidth right after it."""
        threads = {} if case.what == "words" else {"threads": cores}
        answer = self.ours.ask(**case.request(quantize=form, seconds=self.seconds, **threads))
        key = (case, form, cores)
        self.rates[key].append(answer["chars_per_second"])
        self.weights[key] = size = answer["weight_bytes"]
        if case.batch == 1:
            answer = self.ours.ask(
                what="bandwidth", bytes=size, threads=cores, seconds=self.seconds / 2
            )
            self.rates[("read", *key)].append(answer["bytes_per_second"])
            self.levels[key] = answer["level"]

    def best_peer(self, case: Case) -> int | None:
        """The number of threads with which the peer is fastest."""
        if not self.peer:
            return None
        return max(
            case.peer_threads,
            key=lambda threads: statistics.median(self.rates[case, "peer", threads]),
        )

    def cost(self, case: Case) -> float:
        """Measurements that a round of the case takes, in units of `seconds`."""
        ours = len(FORMS) * len(case.cores) * (1.5 if case.batch == 1 else 1.0)
        return ours + (len(case.peer_threads) if self.peer else 0)


@dataclass(frozen=True)
class Row:
    """One case in one form on so many cores, with the rate of every round."""

    case: Case
    form: str
    cores: int
    of_ours: tuple[float, ...]
    of_peer: tuple[float, ...]
    peer_threads: int | None
    weights: int
    bandwidth: float | None
    level: str | None

    def __str__(self) -> str:
        return f"{self.case}, {FORMS[self.form]} on {plural(self.cores, 'core')}"

    @property
    def ours(self) -> float:
        """Our median."""
        return statistics.median(self.of_ours)

    @property
    def peer(self) -> float | None:
        """The peer's."""
        return statistics.median(self.of_peer) if self.of_peer else None

    @property
    def ratio_cells(self) -> list[str]:
        """The ratio of the two, and its range."""
        return ratio_cells(self.of_ours, self.of_peer, self.wanted)

    @property
    def read(self) -> float:
        """Bytes of weights read a second."""
        return self.ours / self.case.batch * self.weights

    @property
    def share(self) -> float | None:
        """What is read of what can be read."""
        return self.read / self.bandwidth if self.bandwidth else None

    @property
    def wanted(self) -> float | None:
        """The ratio that is wanted."""
        if self.case.topic == "one":
            return WANTED[self.form][self.case.shape]
        if self.case.topic == "many" and self.form == "none":
            return WANTED_OF_MANY[self.case.shape]
        return None

    @property
    def wants_share(self) -> bool:
        """Whether a share of the bandwidth is wanted."""
        return (
            self.case.topic == "one"
            and self.form == "none"
            and self.case.hidden >= WANTED_SHARE_FROM
        )


def rows(session: Session, cases: list[Case]) -> Iterator[Row]:
    """Everything measured, in the order of the cases."""
    for case in cases:
        threads = session.best_peer(case)
        peer = session.rates[case, "peer", threads] if threads else []
        for form in FORMS:
            for cores in case.cores:
                key = (case, form, cores)
                ours, read = session.rates[key], session.rates.get(("read", *key))
                yield Row(
                    case,
                    form,
                    cores,
                    tuple(ours),
                    tuple(peer),
                    threads,
                    session.weights[key],
                    statistics.median(read) if read else None,
                    session.levels.get(key),
                )


# The report.


def shape_text(row: Row) -> str:
    """128 × 1."""
    return f"{row.case.hidden} × {row.case.layers}"


def peer_text(row: Row) -> str:
    """The peer's rate and with how many threads it got it."""
    if row.peer is None:
        return "–"
    many = "thread" if row.peer_threads == 1 else "threads"
    return f"{rate_text(row.peer)} ({row.peer_threads} {many})"


def read_cells(row: Row) -> list[str]:
    """Weights, what is read of them a second, and that as a share of the bandwidth."""
    cells = [f"{row.weights / 1e6:.2f}", f"{row.read / 1e9:.1f}"]
    if row.share is None or row.bandwidth is None:
        return [*cells, "–"]
    reached = row.wants_share and row.share >= WANTED_SHARE
    limit = f"of {row.bandwidth / 1e9:.0f} GB/s"
    if row.level:
        limit += f" ({row.level})"
    return [*cells, f"{bold(f'{row.share:.0%}', reached)} {limit}"]


def one_text(found: list[Row]) -> str:
    """The table of one text at a time."""
    head = ["hidden × layers", "cores", "PyTorch, chars/s", "textgen, chars/s", "ratio",
            "min…max", "wanted", "weights, MB", "read, GB/s", "share of bandwidth"]
    body = [
        [shape_text(row), str(row.cores), peer_text(row), rate_text(row.ours), *row.ratio_cells,
         wanted_text(row.wanted), *read_cells(row)]
        for row in found
    ]
    return table(head, body)


def gru_text(found: list[Row]) -> str:
    """The same for GRUs, of which no ratio is wanted."""
    head = ["hidden × layers", "weights in", "cores", "PyTorch, chars/s", "textgen, chars/s",
            "ratio", "min…max", "weights, MB", "read, GB/s", "share of bandwidth"]
    body = [
        [shape_text(row), FORMS[row.form], str(row.cores), peer_text(row), rate_text(row.ours),
         *row.ratio_cells, *read_cells(row)]
        for row in found
    ]
    return table(head, body)


def many_texts(found: list[Row]) -> str:
    """The table of many texts at once."""
    head = ["hidden × layers", "weights in", "PyTorch, chars/s", "textgen, chars/s", "ratio",
            "min…max", "wanted"]
    body = [
        [shape_text(row), FORMS[row.form], peer_text(row), rate_text(row.ours), *row.ratio_cells,
         wanted_text(row.wanted)]
        for row in found
    ]
    return table(head, body)


def words_text(found: list[Row]) -> str:
    """The table of words."""
    head = ["words at once", "weights in", "PyTorch, letters/s", "textgen, letters/s", "wanted",
            "ratio", "min…max"]
    body = [
        [str(row.case.batch), FORMS[row.form], rate_text(row.peer),
         bold(rate_text(row.ours), row.ours >= WANTED_LETTERS), f"≥ {WANTED_LETTERS:,}",
         *row.ratio_cells]
        for row in found
    ]
    return table(head, body)


def sections(found: list[Row], cores: int) -> Iterator[str]:
    """One part a topic, those left out that were not measured."""
    def of(topic: str, form: str | None = None) -> list[Row]:
        return [row for row in found
                if row.case.topic == topic and form in (None, row.form)]

    parts = [
        ("One text, f32", one_text, of("one", "none"), ""),
        ("One text, int8", one_text, of("one", "int8"), ""),
        (f"{MANY} texts at once", many_texts, of("many"),
         f"Characters of all texts together; textgen on {plural(cores, 'core')}."),
        ("GRU, one text", gru_text, of("gru"), ""),
        (f"Words: the decoder of a word-vae, GRU, hidden {WORDS_HIDDEN}", words_text, of("words"),
         "One core and one thread on either side."),
    ]
    for title, text, part, remark in parts:
        if part:
            yield "\n\n".join(filter(None, [f"### {title}", remark, text(part)]))


LEGEND = """\
Medians over the rounds; in each round both sides took turns at every row. The ratio is that of the
medians, min…max its range over the rounds; bold reaches what is wanted. PyTorch stands with the
number of threads that was fastest for it. Cores are those that the engine may use for one text; it
keeps to one where the weights are too few to gain by more. What is read is characters a second
times the weights that each of them reads; the bandwidth is what as many cores read of a buffer of
that size at most, measured right after. How it is measured: [README.md](README.md)."""


def report(setting: Setting, found: list[Row]) -> str:
    """All that stands between the markers."""
    return "\n\n".join(["## Sampling", setting.text(), LEGEND, *sections(found, setting.cores)])


def shape_of(text: str) -> tuple[int, int]:
    """512x2 → (512, 2), one of those that are measured."""
    hidden, _, layers = text.partition("x")
    try:
        shape = (int(hidden), int(layers))
    except ValueError:
        shape = (0, 0)
    if shape not in SHAPES:
        valid = ", ".join(f"{hidden}x{layers}" for hidden, layers in SHAPES)
        raise argparse.ArgumentTypeError(f"{text}: not one of {valid}")
    return shape


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", type=shape_of, action="append", metavar="HxL",
                        help="only this one, such as 256x1; may be given again")
    Options.add(parser, seconds=0.4)
    return parser.parse_args()


def bench() -> None:
    """Measures and reports."""
    given = arguments()
    options = Options.of(given)
    cores = available_cores()
    program = built(["cargo", "bench", "--bench", "sampling", "--no-run"], "sampling")[0]
    with_peer = has_torch(options.peer)
    before = busy_seconds()
    with ExitStack() as stack:
        ours = stack.enter_context(Server("textgen", [program, "--serve"]))
        peer = stack.enter_context(start_peer(options.peer)) if with_peer else None
        about = ours.ask(what="about")
        torch = f"PyTorch {peer.ask(what='about')['torch']}" if peer else "PyTorch not measured"
        session = Session(ours, peer, options.seconds)
        cases = plan(cores, given.shape or SHAPES, words=not given.shape)
        take_turns(cases, options.rounds, session.measure, session.cost)
    others = share_of_others(before, cores)
    programs = f"textgen {about['version']}{commit()}, SIMD level {about['simd']}; {torch}"
    setting = Setting(programs, "bench/sampling.py", cores, others, options)
    found = list(rows(session, cases))
    text = report(setting, found)
    try:
        check_shares({str(row): row.share for row in found})
    except BenchError:
        print(text, file=sys.stderr)
        raise
    deliver("sampling", text, session.rates, options, with_peer and not given.shape)


if __name__ == "__main__":
    sys.exit(ended(bench))
