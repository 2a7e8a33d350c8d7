"""The examples run, and docs/python.md shows what they and the module print."""

import doctest
import subprocess
import sys

import pytest
from conftest import GOLDEN_RUN, REPOSITORY

EXAMPLES = REPOSITORY / "examples" / "python"


def test_the_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    text = (REPOSITORY / "docs" / "python.md").read_text()
    session = doctest.DocTestParser().get_doctest(text.replace("```", "\n"), {}, "python.md", "python.md", 0)
    assert len(session.examples) > 20
    assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(session).failed == 0


def run(name: str, *line: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), *line]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=GOLDEN_RUN)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_generate() -> None:
    assert run("generate.py", "model.safetensors", "A hen").startswith("A hen ")
    assert run("generate.py").startswith("Once upon a time")


def test_surprisal() -> None:
    lines = run("surprisal.py", "english", "The king ate a spanner.").splitlines()
    assert [line.split()[1] for line in lines] == ["The", "king", "ate", "a", "spanner."]
    assert float(lines[4].split()[0]) > float(lines[1].split()[0])


def test_train() -> None:
    said = run("train.py", "fairy-tales", "0.05")
    assert "validation" in said and "<textgen.TextModel: " in said
