"""What the benchmark of training trains, and on what."""

from __future__ import annotations

import random
import string
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driver import BenchError

CELLS = {"lstm": 4, "gru": 3, "rnn": 1}  # and their gates
# Hidden size of a char-lstm and the tokens of each text that a step reads.
TEXTS = {128: 50, 256: 64, 512: 128}
TEXT_BATCH = 64
TOKENS = string.printable[:95] + "\n"  # ASCII from the space on, and the end of a line
WORDS_HIDDEN = [128, 256]
WORD_BATCH = 128
WORD_LETTERS = 10  # of all words, where the peer reads words of one length


@dataclass(frozen=True)
class Training:
    """One network that both sides train."""

    model: str
    cell: str
    hidden: int
    layers: int
    batch: int
    seq: int

    def __str__(self) -> str:
        if self.model == "word-vae":
            return f"words-{self.hidden}"
        return f"{self.cell}-{self.hidden}x{self.layers}"

    @property
    def flops(self) -> int:
        """Floating-point operations of training a char-lstm on one token.

        A product by a matrix has two for each weight, and its gradients twice as many. One-hot
        input is a row of a table and counts nothing; nor does anything that is no product.
        """
        gates = CELLS[self.cell] * self.hidden
        recurrent = self.layers * gates * self.hidden
        between = (self.layers - 1) * gates * self.hidden
        return 6 * (recurrent + between + self.hidden * len(TOKENS))

    def flags(self) -> dict[str, Any]:
        """How `textgen train` is told."""
        flags = {"model": self.model, "cell": self.cell, "hidden": self.hidden,
                 "layers": self.layers, "batch": self.batch, "dropout": 0, "clip": 5,
                 "schedule": "constant", "warmup": 0, "valid": 0, "test": 0, "device": "cpu"}
        if self.model == "word-vae":
            return {**flags, "words": "lines", "embedding": 32, "latent": 32, "optimizer": "adam",
                    "lr": 1e-3, "kl-warmup": 0, "free-bits": 0, "char-dropout": 0}
        return {**flags, "seq": self.seq, "embedding": 0, "optimizer": "amsgrad", "lr": 2e-3}

    def request(self, **more: Any) -> dict[str, Any]:
        """What the peer is asked."""
        return {"what": "train", "model": self.model, "cell": self.cell, "hidden": self.hidden,
                "layers": self.layers, "batch": self.batch, **more}


def all_trainings() -> list[Training]:
    """Every network, in the order in which they are measured."""
    texts = [
        Training("char-lstm", cell, hidden, layers, TEXT_BATCH, seq)
        for cell in ("lstm", "gru") for layers in (1, 2) for hidden, seq in TEXTS.items()
    ]
    words = [Training("word-vae", "gru", hidden, 1, WORD_BATCH, 0) for hidden in WORDS_HIDDEN]
    return texts + words


def random_text(path: Path, length: int) -> None:
    """Writes tokens drawn at random, every one of them at least once."""
    generator = random.Random(0)
    text = TOKENS + "".join(generator.choices(TOKENS, k=length - len(TOKENS)))
    path.write_text(text, encoding="utf-8", newline="")


def made_up_words() -> list[str]:
    """Words of letters drawn at random, as long as names are: six letters or so."""
    generator = random.Random(0)
    lengths = [min(15, max(2, round(generator.gauss(6.2, 1.5)))) for _ in range(32_000)]
    return ["".join(generator.choices(string.ascii_lowercase, k=length)) for length in lengths]


def write_words(path: Path, source: Path | None) -> int:
    """Writes distinct words, one a line, in whole batches; how many there are."""
    try:
        lines = source.read_text(encoding="utf-8").split() if source else made_up_words()
    except OSError as error:
        raise BenchError(f"the words cannot be read: {error}") from error
    words = list(dict.fromkeys(lines))
    words = words[: len(words) // WORD_BATCH * WORD_BATCH]
    if not words:
        raise BenchError(f"{source}: fewer than {WORD_BATCH} distinct words")
    path.write_text("\n".join(words) + "\n", encoding="utf-8")
    return len(words)


def prepare(program: str, folder: Path, case: Training) -> Path:
    """A run that has taken one step, which is the least that `textgen train` does."""
    corpus = folder / ("words.txt" if case.model == "word-vae" else "text.txt")
    flags = {**case.flags(), "name": str(case), "steps": 1, "sample-every": 0}
    command = [program, "--runs-dir", str(folder), "train", str(corpus),
               *(f"--{name}={value}" for name, value in flags.items())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"{case} cannot be prepared: {done.stderr.strip()}")
    return folder / str(case)
