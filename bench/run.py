#!/usr/bin/env python3
"""Measures sampling side by side: textgen and eager PyTorch, in turn, in one session.

    PEER=peer/bin/python bench/run.py            everything; writes bench/RESULTS.md
    PEER=peer/bin/python bench/run.py --quick    a rough look; prints the report
    PEER=peer/bin/python bench/run.py --shape 256x1

PEER is a Python that can import torch; without one only textgen is measured. README.md beside
this file says what is measured and how. Needs cargo, and nothing but Python's standard library.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RESULTS = HERE / "RESULTS.md"
BEGIN, END = "<!-- sampling:begin -->", "<!-- sampling:end -->"
HOW_TO_GET_THE_PEER = (
    "python3 -m venv peer && peer/bin/pip install torch==2.11.0 numpy"
    " && PEER=peer/bin/python make bench"
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

# A thread that PyTorch used spins for some milliseconds before it sleeps.
PAUSE = 0.03


class BenchError(Exception):
    """Something that the user must hear about, in one line."""


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


class Server:
    """A program that answers one line of JSON with another."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        # In a session of its own: Ctrl-C stops the driver, and that ends the servers.
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """The answer to one request."""
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise BenchError(f"{self.name} ended with code {self.process.wait()} at {request}")
        answer = json.loads(line)
        if "error" in answer:
            raise BenchError(f"{self.name} cannot answer {request}: {answer['error']}")
        return answer

    def close(self) -> None:
        """Lets the program end, and sees to it that it does."""
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_ours() -> Server:
    """Builds textgen's side and starts it."""
    command = ["cargo", "bench", "--bench", "sampling", "--no-run", "--message-format=json"]
    try:
        built = subprocess.run(
            command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise BenchError(f"the bench cannot be built: {error}") from error
    messages = (json.loads(line) for line in built.stdout.splitlines() if line.startswith("{"))
    for message in messages:
        if message.get("executable") and message["target"]["name"] == "sampling":
            return Server("textgen", [message["executable"], "--serve"])
    raise BenchError("cargo did not say where it put the bench")


def start_peer(python: str) -> Server | None:
    """Starts the peer, or says in one line how to get it."""
    path = shutil.which(python)
    # Not in the repository's root, whose folder torch/ would pass for the package.
    command = [os.path.abspath(path or python), "-c", "import torch"]
    if not path or subprocess.run(command, cwd=HERE, capture_output=True).returncode != 0:
        print(f"bench: {python} cannot import torch, so only textgen is measured; for the ratios: "
              f"{HOW_TO_GET_THE_PEER}", file=sys.stderr)
        return None
    return Server("PyTorch", [path, str(HERE / "peer.py"), "serve"])


class Progress:
    """One line on stderr that says how far it is and how long it will take."""

    def __init__(self, total: float) -> None:
        self.total, self.done, self.start = total, 0.0, time.monotonic()
        self.live = sys.stderr.isatty()

    def show(self, what: str, end: str | None = None) -> None:
        """Says what is being measured; into a file only where `end` makes a line of its own."""
        left = "" if self.done == 0 else f", {clock(self.left())} left"
        if self.live:
            print(f"\r\033[K{what}{left}", end=end or "", file=sys.stderr, flush=True)
        elif end:
            print(f"{what}{left}", file=sys.stderr, flush=True)

    def left(self) -> float:
        """Seconds, going by how fast it has been."""
        return (time.monotonic() - self.start) * (self.total - self.done) / self.done


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


Key = tuple[Any, ...]


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
            self.rates["read", *key].append(answer["bytes_per_second"])
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


def run(session: Session, cases: list[Case], rounds: int) -> None:
    """All rounds; in each, both sides take turns at every case."""
    progress = Progress(rounds * sum(map(session.cost, cases)))
    for number in range(rounds):
        for case in cases:
            progress.show(f"round {number + 1} of {rounds}: {describe(case)}")
            session.measure(case)
            progress.done += session.cost(case)
        progress.show(f"round {number + 1} of {rounds} done", end="\n")


def describe(case: Case) -> str:
    """A case in a few words."""
    names = {"one": "one text", "many": f"{MANY} texts", "gru": "gru", "words": "words"}
    return f"{names[case.topic]}, {case.hidden}x{case.layers}"


@dataclass(frozen=True)
class Row:
    """The medians of one case in one form on so many cores."""

    case: Case
    form: str
    cores: int
    ours: float
    weights: int
    peer: float | None
    peer_threads: int | None
    ratios: tuple[float, ...]
    bandwidth: float | None
    level: str | None

    @property
    def ratio(self) -> float | None:
        """Ours to the peer's, of the medians."""
        return self.ours / self.peer if self.peer else None

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
                    statistics.median(ours),
                    session.weights[key],
                    statistics.median(peer) if peer else None,
                    threads,
                    tuple(a / b for a, b in zip(ours, peer)),
                    statistics.median(read) if read else None,
                    session.levels.get(key),
                )


# The report.


def rate_text(rate: float | None) -> str:
    """Three figures: 82,500."""
    if rate is None:
        return "–"
    digits = max(0, len(str(int(rate))) - 3)
    return f"{round(rate, -digits):,.0f}"


def ratio_text(ratio: float) -> str:
    """One decimal where it says something."""
    return f"{ratio:.1f}" if ratio < 20 else f"{ratio:.0f}"


def bold(text: str, reached: bool) -> str:
    """Bold where what is wanted is reached."""
    return f"**{text}**" if reached else text


def shape_text(row: Row) -> str:
    """128 × 1."""
    return f"{row.case.hidden} × {row.case.layers}"


def peer_text(row: Row) -> str:
    """The peer's rate and with how many threads it got it."""
    if row.peer is None:
        return "–"
    many = "thread" if row.peer_threads == 1 else "threads"
    return f"{rate_text(row.peer)} ({row.peer_threads} {many})"


def ratio_cells(row: Row) -> list[str]:
    """The ratio, and its range over the rounds."""
    if row.ratio is None:
        return ["–", "–"]
    reached = row.wanted is not None and row.ratio >= row.wanted
    spread = f"{ratio_text(min(row.ratios))}…{ratio_text(max(row.ratios))}"
    return [bold(ratio_text(row.ratio) + "×", reached), spread]


def wanted_text(row: Row) -> str:
    """The ratio wanted."""
    return f"≥ {row.wanted}×" if row.wanted else "–"


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


def table(head: list[str], body: list[list[str]]) -> str:
    """A table in Markdown; all columns but the first are numbers."""
    rule = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *body])


def one_text(found: list[Row]) -> str:
    """The table of one text at a time."""
    head = ["hidden × layers", "cores", "PyTorch, chars/s", "textgen, chars/s", "ratio",
            "min…max", "wanted", "weights, MB", "read, GB/s", "share of bandwidth"]
    body = [
        [shape_text(row), str(row.cores), peer_text(row), rate_text(row.ours), *ratio_cells(row),
         wanted_text(row), *read_cells(row)]
        for row in found
    ]
    return table(head, body)


def gru_text(found: list[Row]) -> str:
    """The same for GRUs, of which no ratio is wanted."""
    head = ["hidden × layers", "weights in", "cores", "PyTorch, chars/s", "textgen, chars/s",
            "ratio", "min…max", "weights, MB", "read, GB/s", "share of bandwidth"]
    body = [
        [shape_text(row), FORMS[row.form], str(row.cores), peer_text(row), rate_text(row.ours),
         *ratio_cells(row), *read_cells(row)]
        for row in found
    ]
    return table(head, body)


def many_texts(found: list[Row]) -> str:
    """The table of many texts at once."""
    head = ["hidden × layers", "weights in", "PyTorch, chars/s", "textgen, chars/s", "ratio",
            "min…max", "wanted"]
    body = [
        [shape_text(row), FORMS[row.form], peer_text(row), rate_text(row.ours), *ratio_cells(row),
         wanted_text(row)]
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
         *ratio_cells(row)]
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


def plural(count: int, noun: str) -> str:
    """1 core, 2 cores."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def processor() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def caches() -> str:
    """The caches that one core sees: L1 32 KiB, L2 1 MiB."""
    found = []
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = (
                (folder / name).read_text(encoding="utf-8").strip()
                for name in ("level", "type", "size")
            )
        except OSError:
            continue
        if kind != "Instruction":
            kilobytes = int(size.removesuffix("K"))
            whole = kilobytes >= 1024 and kilobytes % 1024 == 0
            found.append(f"L{level} {kilobytes // 1024} MiB" if whole else
                         f"L{level} {kilobytes} KiB")
    return ", ".join(found) or "unknown caches"


def system() -> str:
    """The operating system and its kernel."""
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        name = platform.system()
    return f"{name}, kernel {platform.release()}"


def commit() -> str:
    """The commit that is measured, where there is a repository."""
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = ", changed" if git("status", "--porcelain", "--", "src", "Cargo.toml") else ""
        return f" (commit {git('rev-parse', '--short', 'HEAD')}{changed})"
    except (OSError, subprocess.CalledProcessError):
        return ""


def busy_seconds() -> tuple[float, float, float] | None:
    """Time now, what all processors have worked so far, and what our programs have."""
    try:
        fields = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:9]
    except OSError:
        return None
    user, nice, kernel, _idle, _waiting, irq, softirq, steal = map(int, fields)
    ticks = user + nice + kernel + irq + softirq + steal
    own = os.times()
    return (
        time.monotonic(),
        ticks / os.sysconf("SC_CLK_TCK"),
        own.user + own.system + own.children_user + own.children_system,
    )


def share_of_others(before: tuple[float, float, float] | None, cores: int) -> float | None:
    """How much of the machine other programs have taken since, where the system tells.

    Our programs have ended by now: until then they do not count as our children.
    """
    after = busy_seconds()
    if before is None or after is None:
        return None
    elapsed, all_of_it, own = (b - a for a, b in zip(before, after))
    return max(0.0, all_of_it - own) / (elapsed * cores)


@dataclass(frozen=True)
class Setting:
    """What the figures were measured on and with."""

    simd: str
    version: str
    torch: str | None
    cores: int
    others: float | None
    rounds: int
    seconds: float

    def text(self) -> str:
        """The head of the report."""
        peer = f"PyTorch {self.torch}" if self.torch else "PyTorch not measured"
        others = ""
        if self.others is not None:
            others = f"; other programs took {self.others:.0%} of the machine meanwhile"
        return "\n".join([
            f"- Machine: {processor()}, {plural(self.cores, 'core')}; a core sees {caches()};"
            f" {system()}",
            f"- Programs: textgen {self.version}{commit()}, SIMD level {self.simd}; {peer}",
            f"- Measured: {datetime.date.today():%d %B %Y}, by `bench/run.py --rounds {self.rounds}"
            f" --seconds {self.seconds:g}`{others}",
        ])


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


def put(path: Path, text: str) -> None:
    """Replaces what stands between the markers, and leaves the rest of the file alone."""
    block = f"{BEGIN}\n{text}\n{END}"
    old = path.read_text(encoding="utf-8") if path.exists() else "# Results\n"
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and end:
        new = before + block + after
    elif begin:
        raise BenchError(f"{path.name} has {BEGIN} without {END}")
    else:
        new = f"{old.rstrip()}\n\n{block}\n"
    path.write_text(new, encoding="utf-8")


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
    parser.add_argument("--peer", default=os.environ.get("PEER") or "python3",
                        help="a Python that can import torch; default: $PEER, else python3")
    parser.add_argument("--rounds", type=int, help="default: 7; quick: 3")
    parser.add_argument("--seconds", type=float, help="a measurement; default: 0.4; quick: 0.15")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--shape", type=shape_of, action="append", metavar="HxL",
                        help="only this one, such as 256x1; may be given again")
    parser.add_argument("--out", type=Path, help="write the report to this file; default: "
                        "RESULTS.md beside this script, and stdout where not all is measured")
    parser.add_argument("--raw", type=Path, help="write every rate to this file, as JSON")
    return parser.parse_args()


def write_raw(path: Path, session: Session) -> None:
    """Every rate of every round."""
    lines = [
        {"key": [vars(part) if isinstance(part, Case) else part for part in key], "rates": rates}
        for key, rates in session.rates.items()
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")


def bench(options: argparse.Namespace) -> None:
    """Measures and reports."""
    rounds = max(1, options.rounds or (3 if options.quick else 7))
    seconds = options.seconds or (0.15 if options.quick else 0.4)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = cores or 1
    ours = start_ours()
    peer = start_peer(options.peer)
    before = busy_seconds()
    try:
        about = ours.ask(what="about")
        torch = peer.ask(what="about")["torch"] if peer else None
        session = Session(ours, peer, seconds)
        cases = plan(cores, options.shape or SHAPES, words=not options.shape)
        run(session, cases, rounds)
    finally:
        ours.close()
        if peer:
            peer.close()
    others = share_of_others(before, cores)
    setting = Setting(about["simd"], about["version"], torch, cores, others, rounds, seconds)
    text = report(setting, list(rows(session, cases)))
    if options.raw:
        write_raw(options.raw, session)
    whole = peer and not options.quick and not options.shape
    out = options.out or (RESULTS if whole else None)
    if out:
        put(out, text)
        print(f"bench: wrote {out.name}", file=sys.stderr)
    else:
        print(text)


def main() -> int:
    """Runs, and says in one line what went wrong."""
    try:
        bench(arguments())
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nbench: stopped; nothing was written", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
