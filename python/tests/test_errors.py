"""Wrong arguments and files: always an exception with a line that says what is wrong, and never a panic."""

import itertools
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL, TEXT, file_of
from test_text import Alarm, alarm

import textgen


def test_files_that_are_no_models(tmp_path: Path) -> None:
    good = file_of(textgen.train(text=TEXT, steps=1, quiet=True, **SMALL))
    for name, content, message in [
        ("text", b"not a model", "not a textgen model"),
        ("short", good[:-1], "not a textgen model"),
        ("long", good + b"x", "not a textgen model"),
        ("empty", b"", "not a textgen model"),
        ("spoilt", good[:-9] + bytes([good[-9] ^ 1]) + good[-8:], "damaged"),
    ]:
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(content)
        for given in (path, str(path), content):
            with pytest.raises(textgen.Error, match=message) as raised:
                textgen.load(given)
            assert raised.value.hint


def test_models_that_are_not_there(tmp_path: Path) -> None:
    for name in ("nowhere", "nowhere.safetensors", tmp_path / "nowhere/model.safetensors"):
        with pytest.raises(textgen.MissingError) as raised:
            textgen.load(name, runs_dir=tmp_path)
        assert isinstance(raised.value, FileNotFoundError) and raised.value.hint
        assert str(raised.value).endswith("hint: " + raised.value.hint)
    with pytest.raises(textgen.Error, match="is not a run|not a"):
        textgen.load(tmp_path)


def test_an_unknown_simd_level_is_an_error(tmp_path: Path) -> None:
    script = "import textgen; textgen.load('english')"
    environment = {**os.environ, "TEXTGEN_SIMD": "mmx"}
    ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert "textgen.Error: " in ran.stderr and "hint: unset TEXTGEN_SIMD" in ran.stderr


def test_options_out_of_range(text_model: textgen.TextModel) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"temperature": -1}, "--temperature -1"),
        ({"temperature": math.nan}, "--temperature NaN"),
        ({"temperature": math.inf}, "--temperature inf"),
        ({"top_k": 0}, "--top-k 0"),
        ({"top_k": -1}, "top_k -1: must be a whole number"),
        ({"top_p": 2}, "--top-p 2"),
        ({"min_p": -0.5}, "--min-p -0.5"),
        ({"seed": -1}, "seed -1: must be"),
        ({"seed": 2**64}, "must be a whole number from 0"),
        ({"length": -1}, "length -1: must be"),
        ({"count": -1}, "count -1: must be"),
        ({"repetition_penalty": 0.5}, "--repetition-penalty 0.5"),
        ({"repetition_window": 0}, "--repetition-window 0"),
        ({"on_unknown": "panic"}, "--on-unknown panic: not one of"),
        ({"stop": ""}, "the stop text is empty"),
        ({"stop": "Ж"}, "can never be written"),
        ({"constrain": "("}, "constraint ("),
        ({"constrain": "[a-z]{9}", "length": 3}, "a length of 3 is too small"),
    ]
    for options, message in cases:
        with pytest.raises(textgen.Error) as raised:
            text_model.generate(**options)
        assert message in str(raised.value), raised.value
        if "count" not in options:
            with pytest.raises(textgen.Error):
                text_model.stream(**options)


def test_huge_numbers_are_errors_or_end_with_a_signal(
    text_model: textgen.TextModel, word_model: textgen.WordModel
) -> None:
    huge: list[Callable[[], object]] = [
        lambda: text_model.generate(length=2**63),
        lambda: text_model.generate(length=2**64 - 1, count=2**64 - 1),
        lambda: text_model.generate(length=2**63, constrain="[a-z]*"),
        lambda: text_model.generate(length=9, top_k=2**63, temperature=1e-30),
        lambda: word_model.generate(2**62),
        lambda: word_model.generate(3, length=(1, 2**62)),
        lambda: word_model.neighbours("anna", 2**62),
        lambda: word_model.interpolate("anna", "stella", 2**62),
        lambda: textgen.load("english", threads=2**62),
        lambda: textgen.train(text=TEXT, steps=2**62, quiet=True, **SMALL),
        lambda: textgen.train(text=TEXT, steps=2**64, quiet=True, **SMALL),
    ]
    for work in huge:
        try:
            with alarm(0.3):
                work()
        except (Alarm, textgen.Error) as error:
            assert isinstance(error, Alarm) or str(error)


WRONG = [None, 3, -1, 2**70, 0.5, math.nan, "", "a\0b", "\ud800", b"x", [], ["a", 3], {}, object(), "ʼ" * 300, [[1]], [["a"]]]


def calls(model: textgen.TextModel, words: textgen.WordModel) -> list[Callable[[Any], object]]:
    return [
        textgen.load,
        lambda x: textgen.load("english", threads=x),
        lambda x: textgen.load("english", int8=x),
        lambda x: textgen.load("a", runs_dir=x),
        lambda x: textgen.train(x, steps=1, quiet=True),
        lambda x: textgen.train(text=x, steps=1, quiet=True),
        lambda x: textgen.train(resume=x, steps=1, quiet=True),
        lambda x: textgen.train(config=x, steps=1, quiet=True),
        lambda x: model.generate(x, length=9),
        model.log_probs,
        model.next,
        words.encode,
        words.decode,
        lambda x: words.score(x, samples=2),
        lambda x: words.score(["anna"], samples=0),
        words.neighbours,
        lambda x: words.neighbours("anna", 0),
        lambda x: words.neighbours("anna", among=x),
        lambda x: words.interpolate(x, "anna"),
        lambda x: words.interpolate("anna", "anna", 1),
        lambda x: words.generate(3, length=x),
        lambda x: words.generate(3, starts_with=x),
        lambda x: words.generate(3, z_temperature=x),
        lambda x: words.generate(3, constrain=x),
    ]


@pytest.mark.filterwarnings("ignore")
def test_nothing_that_is_given_makes_a_panic(
    text_model: textgen.TextModel, word_model: textgen.WordModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for call, given in itertools.product(calls(text_model, word_model), WRONG):
        try:
            call(given)
        except (TypeError, ValueError, OverflowError, OSError) as error:
            assert str(error)
