"""WordModel: the same words and figures as the program's."""

import json
import pickle
from typing import Any

import numpy as np
import pytest
from conftest import GOLDEN_RUN, GOLDEN_WORDS, Program

import textgen

MODEL = ["--model-file", str(GOLDEN_WORDS / "model.safetensors")]


def of_program(program: Program, *line: str) -> list[dict[str, Any]]:
    ran = program(*line, *MODEL, "--json")
    assert ran.returncode == 0, ran.stderr
    return [json.loads(one) for one in ran.stdout.splitlines()]


def test_a_seed_gives_the_words_of_the_program(word_model: textgen.WordModel, program: Program) -> None:
    words = word_model.generate(9, seed=2, temperature=1.5, z_temperature=1.3, top_k=9, unique=True, novel=True)
    flags = "--seed 2 --temperature 1.5 --z-temperature 1.3 --top-k 9 --unique --novel --count 9"
    assert words == [one["text"] for one in of_program(program, "generate", *flags.split())]
    words = word_model.generate(5, seed=3, length=(5, 7), starts_with="an")
    flags = "--seed 3 --length 5-7 --starts-with an --count 5"
    assert words == [one["text"] for one in of_program(program, "generate", *flags.split())]
    assert all(len(word) == 6 for word in word_model.generate(5, seed=3, length=6))
    assert all(word.endswith("a") for word in word_model.generate(5, seed=3, constrain=".*a"))


def test_words_are_encoded_and_decoded_again(word_model: textgen.WordModel) -> None:
    words = ["anna", "stella", "rosa"]
    z = word_model.encode(words)
    assert z.dtype == np.float32 and z.shape == (3, word_model.latent_size)
    assert word_model.decode(z)[0] == "anna"
    assert word_model.decode(z.astype(np.float64)[0]) == word_model.decode([list(z[0])]) == ["anna"]
    assert word_model.encode([]).shape == (0, word_model.latent_size)
    assert word_model.decode(np.zeros((0, word_model.latent_size))) == []
    # A view with gaps.
    assert word_model.decode(np.repeat(z, 2, axis=0)[::2]) == word_model.decode(z)


def test_paths_neighbours_and_scores_are_those_of_the_program(word_model: textgen.WordModel, program: Program) -> None:
    path = of_program(program, "interpolate", "anna", "stella")
    assert word_model.interpolate("anna", "stella") == [one["word"] for one in path]
    path = of_program(program, "interpolate", "rosa", "beth", "--linear", "--steps", "5")
    assert word_model.interpolate("rosa", "beth", 5, linear=True) == [one["word"] for one in path]
    near = of_program(program, "neighbours", "anna", "-k", "5")
    assert [word for word, _ in word_model.neighbours("anna", 5)] == [one["word"] for one in near]
    assert [far for _, far in word_model.neighbours("anna", 5)] == [one["distance"] for one in near]
    assert [word for word, _ in word_model.neighbours("anna", among=["stella", "hannah"])] == ["hannah", "stella"]
    scores = of_program(program, "score", "--word", "anna", "--word", "rosalba")
    nats = word_model.score(["anna", "rosalba"])
    assert nats.dtype == np.float64 and nats.shape == (2,)
    assert sorted(nats) == pytest.approx(sorted(one["nats"] for one in scores))


def test_what_is_not_there_is_an_error(word_model: textgen.WordModel) -> None:
    with pytest.raises(textgen.Error, match="is not a word"):
        word_model.encode(["anna", ""])
    with pytest.raises(textgen.Error, match="1.*of shape|shape"):
        word_model.decode(np.zeros((2, 1)))
    for z in (np.full(word_model.latent_size, np.nan), np.full(word_model.latent_size, 1e300)):
        with np.errstate(over="ignore"), pytest.raises(textgen.Error, match="finite"):
            word_model.decode(z)
    for samples in (0, -1, 10**6 + 1, 2**62):
        with pytest.raises(textgen.Error, match=f"samples {samples}: must be 1 to 1000000"):
            word_model.score(["anna"], samples=samples)
    with pytest.raises(textgen.Error, match="such word"):
        word_model.generate(5, starts_with="ann", length=64)


def test_models_are_shown_and_pickled(word_model: textgen.WordModel) -> None:
    assert repr(word_model).startswith("<textgen.WordModel: gru 12 × 1")
    assert "anna" in word_model.training_words and "a" in word_model.vocabulary
    again = pickle.loads(pickle.dumps(word_model))
    assert again.generate(5, seed=1) == word_model.generate(5, seed=1)


def test_a_text_model_has_no_words() -> None:
    model = textgen.load(GOLDEN_RUN / "model.safetensors")
    assert not hasattr(model, "encode")
