"""What the tests share: the committed models, and a text to train on."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import textgen

REPOSITORY = Path(__file__).parents[2]
GOLDEN_RUN = REPOSITORY / "tests" / "golden-run"
GOLDEN_WORDS = REPOSITORY / "tests" / "golden-words"
# Some 2,000 characters that a small model learns at once.
TEXT = "".join(f"the {animal} who lived by the {place}\n" for animal in ("hen", "fox", "cat") for place in "abcdefgh") * 4
SMALL: dict[str, Any] = {"hidden": 16, "batch": 4, "seq": 16, "lr": 0.02, "seed": 3, "threads": 1}

Program = Callable[..., subprocess.CompletedProcess[str]]


def hear_ctrl_c() -> None:
    """For a process that is started where Ctrl-C is ignored, as in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def file_of(model: textgen.TextModel | textgen.WordModel) -> bytes:
    """The bytes of the model's file."""
    reduced: Any = model.__reduce__()
    file = reduced[1][0]
    assert isinstance(file, bytes)
    return file


@pytest.fixture(scope="session")
def text_model() -> textgen.TextModel:
    model = textgen.load(GOLDEN_RUN / "model.safetensors")
    assert isinstance(model, textgen.TextModel)
    return model


@pytest.fixture(scope="session")
def word_model() -> textgen.WordModel:
    model = textgen.load(GOLDEN_WORDS / "model.safetensors")
    assert isinstance(model, textgen.WordModel)
    return model


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Runs the command that the wheel installs, in an empty folder."""

    def run(*line: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).parent / "textgen"), *line]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, stdin=subprocess.DEVNULL)

    return run
