from collections.abc import Callable, Sequence
from os import PathLike
from typing import Literal, SupportsIndex, TypeAlias, final, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import Self, Unpack

from ._settings import Settings

_Path: TypeAlias = str | PathLike[str]
_OnUnknown: TypeAlias = Literal["error", "skip", "nearest"]

__version__: str

def load(
    model: _Path | bytes, int8: bool = False, threads: SupportsIndex = 0, *, runs_dir: _Path | None = None
) -> TextModel | WordModel: ...
def train(
    corpus: _Path | Sequence[_Path] | None = None,
    *,
    text: str | None = None,
    run: str | None = None,
    resume: _Path | None = None,
    config: _Path | None = None,
    runs_dir: _Path | None = None,
    callback: Callable[[Progress], object] | None = None,
    quiet: bool = False,
    **settings: Unpack[Settings],
) -> TextModel | WordModel: ...
def main(line: Sequence[str]) -> int: ...
@final
class TextModel:
    @overload
    def generate(
        self,
        prompt: str = "",
        *,
        length: SupportsIndex | None = None,
        temperature: float = 1.0,
        seed: SupportsIndex | None = None,
        stop: str | None = None,
        constrain: str | None = None,
        top_k: SupportsIndex | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float = 1.0,
        repetition_window: SupportsIndex = 256,
        on_unknown: _OnUnknown = "error",
        count: None = None,
    ) -> str: ...
    @overload
    def generate(
        self,
        prompt: str = "",
        *,
        length: SupportsIndex | None = None,
        temperature: float = 1.0,
        seed: SupportsIndex | None = None,
        stop: str | None = None,
        constrain: str | None = None,
        top_k: SupportsIndex | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float = 1.0,
        repetition_window: SupportsIndex = 256,
        on_unknown: _OnUnknown = "error",
        count: SupportsIndex,
    ) -> list[str]: ...
    def stream(
        self,
        prompt: str = "",
        *,
        length: SupportsIndex | None = None,
        temperature: float = 1.0,
        seed: SupportsIndex | None = None,
        stop: str | None = None,
        constrain: str | None = None,
        top_k: SupportsIndex | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float = 1.0,
        repetition_window: SupportsIndex = 256,
        on_unknown: _OnUnknown = "error",
    ) -> Stream: ...
    def log_probs(self, text: str) -> NDArray[np.float64]: ...
    def next(self, prefix: str = "") -> dict[str, float]: ...
    @property
    def vocabulary(self) -> list[str]: ...

@final
class Stream:
    def __iter__(self) -> Self: ...
    def __next__(self) -> str: ...

@final
class WordModel:
    def generate(
        self,
        count: SupportsIndex = 20,
        *,
        temperature: float = 1.0,
        seed: SupportsIndex | None = None,
        starts_with: str = "",
        length: SupportsIndex | tuple[SupportsIndex, SupportsIndex] | None = None,
        constrain: str | None = None,
        unique: bool = False,
        novel: bool = False,
        z_temperature: float | None = None,
        top_k: SupportsIndex | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        on_unknown: _OnUnknown = "error",
    ) -> list[str]: ...
    def encode(self, words: Sequence[str], *, on_unknown: _OnUnknown = "error") -> NDArray[np.float32]: ...
    def decode(self, z: ArrayLike) -> list[str]: ...
    def interpolate(
        self, a: str, b: str, steps: SupportsIndex = 8, *, linear: bool = False, on_unknown: _OnUnknown = "error"
    ) -> list[str]: ...
    def neighbours(
        self,
        word: str,
        count: SupportsIndex = 10,
        *,
        among: Sequence[str] | None = None,
        on_unknown: _OnUnknown = "error",
    ) -> list[tuple[str, float]]: ...
    def score(
        self,
        words: Sequence[str],
        *,
        samples: SupportsIndex = 100,
        seed: SupportsIndex = 0,
        on_unknown: _OnUnknown = "error",
    ) -> NDArray[np.float64]: ...
    @property
    def latent_size(self) -> int: ...
    @property
    def training_words(self) -> list[str]: ...
    @property
    def vocabulary(self) -> list[str]: ...

@final
class Progress:
    @property
    def step(self) -> int: ...
    @property
    def steps(self) -> int | None: ...
    @property
    def fraction(self) -> float: ...
    @property
    def epoch(self) -> float: ...
    @property
    def loss(self) -> float: ...
    @property
    def valid_loss(self) -> float | None: ...
    @property
    def chars_per_second(self) -> float: ...
    @property
    def seconds_left(self) -> float | None: ...
    @property
    def evaluated(self) -> bool: ...
