"""Text at the level of characters: language models that continue texts, and models that invent words.

>>> import textgen
>>> model = textgen.load("english")
>>> model.generate("Once upon a time", temperature=0.5, seed=1, length=80)
>>> model.log_probs("Once upon a time")
>>> model = textgen.train("my-text.txt", minutes=5)
"""

from ._errors import Error, MissingError
from ._textgen import Progress, Stream, TextModel, WordModel, __version__, load, train

__all__ = [
    "Error",
    "MissingError",
    "Progress",
    "Stream",
    "TextModel",
    "WordModel",
    "__version__",
    "load",
    "train",
]
