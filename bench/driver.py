"""What the drivers of the benchmark share: the two sides, progress, the machine, the report."""

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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RESULTS = HERE / "RESULTS.md"
HOW_TO_GET_THE_PEER = (
    "python3 -m venv peer && peer/bin/pip install torch==2.11.0 numpy"
    " && PEER=peer/bin/python make bench"
)

# What makes a commit's figures those of another, when it is changed.
MEASURED = ["src", "torch", "Cargo.toml"]

# A thread that PyTorch used spins for some milliseconds before it sleeps.
PAUSE = 0.03

# A share of a limit that is larger than this, noise allowed for, shows that the limit was not one.
HIGHEST_SHARE = 1.05

# What a number was measured of, and one number a round for each.
Key = tuple[Any, ...]
Rates = Mapping[Key, Sequence[float]]
Case = TypeVar("Case")


class BenchError(Exception):
    """Something that the user must hear about, in one line."""


class Server:
    """A program that answers one line of JSON with another."""

    def __init__(self, name: str, command: list[str], **environment: str) -> None:
        self.name = name
        # In a session of its own: Ctrl-C stops the driver, and that ends the servers.
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**environment, **os.environ},  # what the user has set goes first
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
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BenchError(f"{self.name} cannot answer {request}: {answer['error']}")
        return answer

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        """Lets the program end, and sees to it that it does."""
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def built(cargo: list[str], *names: str) -> list[str]:
    """Builds with cargo, and says where it has put the programs of these names."""
    command = [*cargo, "--message-format=json-render-diagnostics"]
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise BenchError(f"{names[0]} cannot be built: {error}") from error
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    programs = {
        message["target"]["name"]: message["executable"]
        for message in messages
        if message.get("executable")
    }
    try:
        return [programs[name] for name in names]
    except KeyError as error:
        raise BenchError(f"cargo did not say where it put {error}") from error


def has_torch(python: str) -> bool:
    """Whether this Python can import torch; says in one line how to get one that can."""
    path = shutil.which(python)
    # Not in the repository's root, whose folder torch/ would pass for the package.
    command = [os.path.abspath(path or python), "-c", "import torch"]
    if path and subprocess.run(command, cwd=HERE, capture_output=True).returncode == 0:
        return True
    print(f"bench: {python} cannot import torch, so only textgen is measured; for the ratios: "
          f"{HOW_TO_GET_THE_PEER}", file=sys.stderr)
    return False


def start_peer(python: str) -> Server:
    """Starts the peer in a Python that has torch."""
    return Server("PyTorch", [python, str(HERE / "peer.py"), "serve"])


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


def take_turns(
    cases: Sequence[Case], rounds: int, measure: Callable[[Case], None],
    cost: Callable[[Case], float],
) -> None:
    """All rounds; a round measures every case once. `cost` is how long that takes, in any unit."""
    progress = Progress(rounds * sum(map(cost, cases)))
    for number in range(rounds):
        for case in cases:
            progress.show(f"round {number + 1} of {rounds}: {case}")
            measure(case)
            progress.done += cost(case)
        progress.show(f"round {number + 1} of {rounds} done", end="\n")


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


def ratio_cells(
    ours: Sequence[float], peer: Sequence[float], wanted: float | None
) -> list[str]:
    """The ratio of the medians, bold where it reaches what is wanted; its range over the rounds."""
    if not peer:
        return ["–", "–"]
    ratio = statistics.median(ours) / statistics.median(peer)
    ratios = [a / b for a, b in zip(ours, peer)]
    spread = f"{ratio_text(min(ratios))}…{ratio_text(max(ratios))}"
    return [bold(ratio_text(ratio) + "×", wanted is not None and ratio >= wanted), spread]


def wanted_text(wanted: float | None) -> str:
    """The ratio wanted."""
    return f"≥ {wanted:g}×" if wanted else "–"


def check_shares(shares: Mapping[str, float | None]) -> None:
    """Fails if one of them is larger than a share of a limit can be."""
    wrong = [f"{what} reached {share:.0%}" for what, share in shares.items()
             if share is not None and share > HIGHEST_SHARE]
    if wrong:
        raise BenchError("what was measured as a limit is none: " + "; ".join(wrong))


def table(head: list[str], body: list[list[str]]) -> str:
    """A table in Markdown; all columns but the first are numbers."""
    rule = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *body])


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
        changed = ", changed" if git("status", "--porcelain", "--", *MEASURED) else ""
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
class Options:
    """What the command line of either driver says."""

    peer: str
    rounds: int
    seconds: float
    quick: bool
    out: Path | None
    raw: Path | None

    @staticmethod
    def add(parser: argparse.ArgumentParser, seconds: float) -> None:
        """The flags; a measurement takes so many seconds by default."""
        parser.add_argument("--peer", default=os.environ.get("PEER") or "python3",
                            help="a Python that can import torch; default: $PEER, else python3")
        parser.add_argument("--rounds", type=int, help="default: 7; quick: 3")
        parser.add_argument("--seconds", type=float,
                            help=f"a measurement; default: {seconds:g}; quick: a third")
        parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
        parser.add_argument("--out", type=Path, help="write the report to this file; default: "
                            "RESULTS.md beside this script, and stdout where not all is measured")
        parser.add_argument("--raw", type=Path, help="write every rate to this file, as JSON")
        parser.set_defaults(default_seconds=seconds)

    @staticmethod
    def of(given: argparse.Namespace) -> Options:
        """What was given, and defaults."""
        rounds = given.rounds or (3 if given.quick else 7)
        seconds = given.seconds or given.default_seconds / (3 if given.quick else 1)
        return Options(given.peer, max(1, rounds), seconds, given.quick, given.out, given.raw)


@dataclass(frozen=True)
class Setting:
    """What the figures were measured on and with."""

    programs: str
    command: str
    cores: int
    others: float | None
    options: Options

    def text(self) -> str:
        """The head of a report."""
        others = ""
        if self.others is not None:
            others = f"; other programs took {self.others:.0%} of the machine meanwhile"
        return "\n".join([
            f"- Machine: {processor()}, {plural(self.cores, 'core')}; a core sees {caches()};"
            f" {system()}",
            f"- Programs: {self.programs}",
            f"- Measured: {datetime.date.today():%d %B %Y}, by `{self.command} --rounds"
            f" {self.options.rounds} --seconds {self.options.seconds:.2g}`{others}",
        ])


def available_cores() -> int:
    """Cores that this program may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def put(path: Path, topic: str, text: str) -> None:
    """Replaces what stands between the topic's markers, and leaves the rest of the file alone."""
    begin_mark, end_mark = f"<!-- {topic}:begin -->", f"<!-- {topic}:end -->"
    block = f"{begin_mark}\n{text}\n{end_mark}"
    old = path.read_text(encoding="utf-8") if path.exists() else "# Results\n"
    before, begin, rest = old.partition(begin_mark)
    _, end, after = rest.partition(end_mark)
    if begin and end:
        new = before + block + after
    elif begin:
        raise BenchError(f"{path.name} has {begin_mark} without {end_mark}")
    else:
        new = f"{old.rstrip()}\n\n{block}\n"
    path.write_text(new, encoding="utf-8")


def deliver(topic: str, text: str, rates: Rates, options: Options, whole: bool) -> None:
    """Writes the report where it belongs: into RESULTS.md only if it is `whole`."""
    if options.raw:
        lines = [
            {"key": [asdict(part) if is_dataclass(part) and not isinstance(part, type) else part
                     for part in key], "rates": values}
            for key, values in rates.items()
        ]
        options.raw.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    out = options.out or (RESULTS if whole and not options.quick else None)
    if out:
        put(out, topic, text)
        print(f"bench: wrote {out.name}", file=sys.stderr)
    else:
        print(text)


def ended(bench: Callable[[], None]) -> int:
    """Runs a benchmark, and says in one line what went wrong; the exit code."""
    try:
        bench()
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nbench: stopped; nothing was written", file=sys.stderr)
        return 130
    return 0
