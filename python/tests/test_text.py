"""TextModel: what it writes is what the program writes."""

import copy
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from conftest import GOLDEN_RUN, Program

import textgen

MODEL = str(GOLDEN_RUN / "model.safetensors")


def test_the_golden_model_says_its_text(text_model: textgen.TextModel) -> None:
    text = text_model.generate("A hen", temperature=0, seed=1, length=700)
    assert f"A hen{text}\n" == (GOLDEN_RUN / "expected.txt").read_text()


def test_a_seed_gives_the_text_of_the_program(text_model: textgen.TextModel, program: Program) -> None:
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({"temperature": 0.7, "top_k": 9}, ["--temperature", "0.7", "--top-k", "9"]),
        ({"min_p": 0.05, "repetition_penalty": 1.4}, ["--min-p", "0.05", "--repetition-penalty", "1.4"]),
        ({"top_p": 0.9, "stop": "who"}, ["--top-p", "0.9", "--stop", "who"]),
        ({"constrain": "[a-z ]{5,40}"}, ["--constrain", "[a-z ]{5,40}"]),
    ]
    for given, flags in cases:
        sampling = ["--model-file", MODEL, "--prompt", "A hen", "--no-prompt", "--length", "120", "--seed", "5"]
        ran = program("generate", *sampling, *flags)
        assert ran.returncode == 0, ran.stderr
        options: dict[str, Any] = {"length": 120, "seed": 5, **given}
        text = text_model.generate("A hen", **options)
        assert text + "\n" == ran.stdout
        assert "".join(text_model.stream("A hen", **options)) == text
        assert text_model.generate("A hen", count=3, **options)[0] == text


def test_int8_is_the_quantized_model(program: Program) -> None:
    model = textgen.load(MODEL, int8=True)
    assert isinstance(model, textgen.TextModel) and "8 bits" in repr(model)
    ran = program("generate", "--model-file", MODEL, "--quantize", "int8", "--seed", "2", "--length", "60")
    assert model.generate(seed=2, length=60) + "\n" == ran.stdout


def test_no_seed_is_a_new_one(text_model: textgen.TextModel) -> None:
    assert len({text_model.generate(temperature=2, length=40) for _ in range(4)}) > 1


def test_log_probs_are_those_of_next(text_model: textgen.TextModel) -> None:
    text = "A hen who lived"
    nats = text_model.log_probs(text)
    assert nats.dtype == np.float64 and nats.shape == (len(text) - 1,)
    assert (nats <= 0).all() and nats.flags.writeable
    for at, nat in enumerate(nats, 1):
        assert text_model.next(text[:at])[text[at]] == pytest.approx(np.exp(nat), rel=1e-4)
    assert text_model.log_probs("A").shape == (0,)
    assert text_model.log_probs("").shape == (0,)


def test_next_is_a_distribution_with_the_most_probable_first(text_model: textgen.TextModel) -> None:
    following = text_model.next("A hen who lived beside the s")
    assert sum(following.values()) == pytest.approx(1, abs=1e-5)
    assert list(following.values()) == sorted(following.values(), reverse=True)
    assert next(iter(following)) == "e" and set(following) <= set(text_model.vocabulary)
    assert text_model.next()


def test_unknown_characters_are_errors_or_warnings(text_model: textgen.TextModel) -> None:
    with pytest.raises(textgen.Error, match="U\\+0416") as raised:
        text_model.generate("Ж")
    assert isinstance(raised.value, ValueError) and raised.value.hint and "--on-unknown" in raised.value.hint
    with pytest.warns(UserWarning, match="é is read as e"):
        nearest = text_model.generate("A hén", on_unknown="nearest", temperature=0, length=20)
    assert nearest == text_model.generate("A hen", temperature=0, length=20)
    with pytest.warns(UserWarning, match="Ж is left out"):
        text_model.generate("A henЖ", on_unknown="skip", length=20)


def test_models_are_shown_copied_and_pickled(text_model: textgen.TextModel) -> None:
    assert repr(text_model).startswith("<textgen.TextModel: ") and "tokens, of corpus" in repr(text_model)
    text = text_model.generate("A hen", seed=4, length=50)
    for other in (copy.deepcopy(text_model), pickle.loads(pickle.dumps(text_model))):
        assert other.generate("A hen", seed=4, length=50) == text
    of_bytes = textgen.load((GOLDEN_RUN / "model.safetensors").read_bytes())
    assert isinstance(of_bytes, textgen.TextModel) and of_bytes.generate("A hen", seed=4, length=50) == text


def test_the_bundled_model_writes_english() -> None:
    model = textgen.load("english")
    assert isinstance(model, textgen.TextModel)
    assert len(model.generate("Once upon a time", length=80, seed=1)) == 80


def ticks_during(work: Callable[[], object]) -> int:
    """How often another thread gets its turn meanwhile."""
    ticks, over = 0, threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not over.wait(0.002):
            ticks += 1

    thread = threading.Thread(target=tick)
    thread.start()
    # What the thread does before and after is not counted.
    time.sleep(0.02)
    before = ticks
    work()
    after = ticks
    over.set()
    thread.join()
    return after - before


def test_other_threads_run_meanwhile(text_model: textgen.TextModel, word_model: textgen.WordModel) -> None:
    text = (GOLDEN_RUN / "corpus.txt").read_text()
    words = word_model.training_words
    long: dict[str, Callable[[], object]] = {
        "generate": lambda: text_model.generate(length=60_000, seed=1),
        "many": lambda: text_model.generate(length=2_000, seed=1, count=60),
        "log_probs": lambda: text_model.log_probs(text * max(1, 150_000 // len(text))),
        "encode": lambda: word_model.encode(words * 400),
        "score": lambda: word_model.score(words[:50], samples=4000),
        "words": lambda: word_model.generate(60_000, seed=1),
    }
    for name, work in long.items():
        assert ticks_during(work) >= 10, name


def test_one_model_serves_several_threads(text_model: textgen.TextModel) -> None:
    def write(seed: int) -> str:
        return text_model.generate("A hen", seed=seed, length=2000)

    alone = [write(seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(write, range(8))) == alone
    stream = text_model.stream("A hen", seed=3, length=2000)
    with ThreadPoolExecutor(4) as pool:
        pieces = list(pool.map(lambda _: "".join(stream), range(4)))
    assert sum(map(len, pieces)) == len(alone[3])


class Alarm(Exception):
    """What the handler of the tests' signal raises."""


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_signals_end_long_work(text_model: textgen.TextModel, word_model: textgen.WordModel) -> None:
    endless: list[Callable[[], object]] = [
        lambda: text_model.generate(length=10**12),
        lambda: text_model.generate(length=10**6, count=10**6),
        lambda: word_model.generate(10**9),
        lambda: list(text_model.stream(length=10**12)),
    ]
    for work in endless:
        began = time.monotonic()
        with pytest.raises(Alarm), alarm(0.3):
            work()
        assert time.monotonic() - began < 5


def test_a_stream_may_be_left(text_model: textgen.TextModel) -> None:
    stream = text_model.stream(length=10**12)
    assert iter(stream) is stream and next(stream)
    del stream
    assert "".join(text_model.stream(length=0)) == ""
