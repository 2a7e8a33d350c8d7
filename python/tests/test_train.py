"""train: the same as `textgen train`, with a callback and Ctrl-C."""

import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL, TEXT, Program, file_of, hear_ctrl_c
from test_text import ticks_during

import textgen


def test_a_training_gives_the_model_of_the_program(tmp_path: Path, program: Program) -> None:
    (tmp_path / "tales.txt").write_text(TEXT)
    flags = [f"--{key}={value}" for key, value in SMALL.items()]
    ran = program("train", "--model", "char-lstm", "tales.txt", "--name", "a", "--steps", "40", *flags)
    assert ran.returncode == 0, ran.stderr
    model = textgen.train(tmp_path / "tales.txt", steps=40, quiet=True, **SMALL)
    assert file_of(model) == (tmp_path / "runs/a/model.safetensors").read_bytes()
    again = textgen.load("a", runs_dir=tmp_path / "runs")
    assert isinstance(model, textgen.TextModel) and isinstance(again, textgen.TextModel)
    assert model.generate(seed=1, length=30) == again.generate(seed=1, length=30)


def test_the_callback_is_told_how_it_goes() -> None:
    told: list[textgen.Progress] = []
    words = "\n".join(sorted({word for line in TEXT.splitlines() for word in line.split()}) * 3)
    kinds: list[tuple[str, dict[str, Any]]] = [(TEXT, {}), (words, {"model": "word-vae", "words": "lines"})]
    for corpus, more in kinds:
        told.clear()
        settings: dict[str, Any] = {"steps": 200, "eval_every": 50, "hidden": 16, "batch": 4, "threads": 1, **more}
        textgen.train(corpus, callback=told.append, quiet=True, **settings)
        evaluated = [one for one in told if one.evaluated]
        assert [one.step for one in evaluated] == [50, 100, 150, 200]
        last = evaluated[-1]
        assert last.steps == 200 and last.fraction == 1 and last.epoch > 0
        assert last.valid_loss is not None and 0 < last.loss < 30 and last.chars_per_second > 0
        assert repr(last).startswith("<textgen.Progress: step 200, 100 %, loss ")


def test_what_happens_is_printed_unless_it_is_quiet() -> None:
    err = io.StringIO()
    with redirect_stderr(err):
        textgen.train(text=TEXT, steps=20, **SMALL)
    lines = err.getvalue().splitlines()
    assert any(line.startswith("char-lstm on text: lstm 16 × 1") for line in lines)
    assert any(line.startswith("step 20/20 ·") for line in lines)
    assert not any("textgen generate" in line for line in lines)
    err = io.StringIO()
    with redirect_stderr(err):
        textgen.train(text=TEXT, steps=20, quiet=True, **SMALL)
    assert err.getvalue() == ""


def test_nothing_stays_behind_unless_a_run_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    textgen.train(text=TEXT, steps=5, quiet=True, **SMALL)
    assert list(tmp_path.iterdir()) == []
    textgen.train(text=TEXT, steps=5, run="kept", quiet=True, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    textgen.load("kept")
    with pytest.raises(textgen.Error, match="a run named kept exists"):
        textgen.train(text=TEXT, steps=5, run="kept", quiet=True, **SMALL)
    # It goes on, and from there.
    textgen.train(resume="kept", steps=10, quiet=True)
    textgen.train(text=TEXT, from_="kept", steps=5, runs_dir="runs", quiet=True)
    assert len([path for path in (tmp_path / "runs").iterdir() if path.is_dir()]) == 2
    textgen.train(config=tmp_path / "runs/kept/config.toml", text=TEXT, steps=5, quiet=True)


def test_what_the_callback_raises_stops_the_training_and_saves_it(tmp_path: Path) -> None:
    def tired(progress: textgen.Progress) -> None:
        raise LookupError(progress.step)

    with pytest.raises(LookupError):
        textgen.train(text=TEXT, steps=10**7, run="a", runs_dir=tmp_path, callback=tired, quiet=True, **SMALL)
    assert (tmp_path / "a/state.safetensors").exists()
    textgen.load("a", runs_dir=tmp_path)


SCRIPT = """
import sys, textgen
def show(progress):
    if progress.step > 20:
        print("going", flush=True)
try:
    textgen.train(sys.argv[1], steps=int(sys.argv[2]), eval_every=1000, hidden=16, batch=4, seq=16, seed=3, threads=1,
                  run="a" if len(sys.argv) < 4 else None, quiet=True, callback=show)
except KeyboardInterrupt as stopped:
    print(stopped)
    sys.exit(7)
"""


def interrupted(folder: Path, *line: str) -> str:
    """What a script that trains says after Ctrl-C."""
    (folder / "script.py").write_text(SCRIPT)
    (folder / "tales.txt").write_text(TEXT)
    command = [sys.executable, "script.py", "tales.txt", *line]
    environment = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, text=True, env=environment, preexec_fn=hear_ctrl_c
    ) as ran:
        assert ran.stdout
        assert ran.stdout.readline() == "going\n"
        ran.send_signal(signal.SIGINT)
        said = ran.stdout.read()
        assert ran.wait(30) == 7
    return said.splitlines()[-1]


def test_ctrl_c_saves_first_and_the_training_goes_on_to_the_same_model(tmp_path: Path) -> None:
    said = interrupted(tmp_path, "3000")
    assert "everything is saved" in said and 'textgen.train(resume="runs/a")' in said
    textgen.load(tmp_path / "runs/a")
    resumed = textgen.train(resume=tmp_path / "runs/a", quiet=True)
    settings: dict[str, Any] = {"eval_every": 1000, "hidden": 16, "batch": 4, "seq": 16, "seed": 3, "threads": 1}
    whole = textgen.train(tmp_path / "tales.txt", steps=3000, quiet=True, **settings)
    assert file_of(resumed) == file_of(whole)


def test_a_temporary_run_stays_after_ctrl_c(tmp_path: Path) -> None:
    said = interrupted(tmp_path, "100000000", "temporary")
    path = said.split('textgen.load("')[1].split('")')[0]
    assert Path(path).is_relative_to(tmp_path)
    assert isinstance(textgen.load(path), textgen.TextModel)


def test_other_threads_run_while_one_trains() -> None:
    assert ticks_during(lambda: textgen.train(text=TEXT, steps=1500, quiet=True, **SMALL)) >= 10


def test_wrong_settings_are_errors() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"hidden": 0}, "--hidden 0: must be 1 to 16384"),
        ({"hidden": 1.5}, "--hidden 1.5: must be a whole number"),
        ({"lr": "fast"}, "--lr fast: must be a number"),
        ({"lr": float("nan")}, "--lr NaN: must be above 0"),
        ({"cell": "tree"}, "--cell tree: not one of lstm, gru"),
        ({"steps": 5, "epochs": 1}, "--steps and --epochs exclude each other"),
        ({"latent": 3}, "--latent 3: belongs to word-vae"),
        ({"device": "cuda"}, "--device cuda:0: the library trains on the CPU"),
        ({"batch": 10**5, "seq": 10**5}, "are needed for 100000 streams"),
        ({"run": "a/b", "runs_dir": "nowhere"}, "a/b is not a valid name for a run"),
        ({"resume": "nowhere", "text": None}, "no run named nowhere"),
        ({"config": "nowhere.toml"}, "nowhere.toml"),
    ]
    for settings, message in cases:
        with pytest.raises(textgen.Error) as raised:
            textgen.train(**{"text": TEXT, "quiet": True, "steps": 5, **settings})
        assert message in str(raised.value), raised.value
    cases = [
        ({"hiden": 3}, 'unexpected keyword argument "hiden"; did you mean "hidden"?'),
        ({"corpus_digest": "x"}, "unexpected keyword argument"),
        ({"hidden": [3]}, "must be a number, a string or a bool, not list"),
        ({"callback": 3}, "'callback' must be callable, not int"),
        ({"corpus": "fairy-tales"}, "a corpus or a text, not both"),
        ({"corpus": 3, "text": None}, "int"),
        ({"corpus": [], "text": None}, "at least one path"),
        ({"text": 3}, "'str'"),
    ]
    for settings, message in cases:
        with pytest.raises(TypeError) as wrong:
            textgen.train(**{"text": TEXT, "quiet": True, **settings})
        assert message in str(wrong.value), wrong.value


def test_a_corpus_that_is_not_there_or_too_short_is_an_error() -> None:
    with pytest.raises(textgen.MissingError, match="no such corpus") as raised:
        textgen.train("nowhere.txt", steps=5, quiet=True)
    assert isinstance(raised.value, FileNotFoundError) and isinstance(raised.value, ValueError)
    for text in ("", "a", "\n", "aaaa\n" * 3):
        with pytest.raises(textgen.Error):
            textgen.train(text=text, steps=5, quiet=True)


def test_a_signal_before_the_training_begins_waits_for_nothing(tmp_path: Path) -> None:
    fifo = tmp_path / "never.txt"
    os.mkfifo(fifo)
    began = time.monotonic()

    def ring(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(TimeoutError):
            textgen.train(fifo, steps=5, quiet=True)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < 5
    # The thread that reads it ends, too.
    with open(fifo, "w"):
        pass
