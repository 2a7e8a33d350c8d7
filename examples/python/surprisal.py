"""Plots the surprisal of each word, in bits: python examples/python/surprisal.py [MODEL [TEXT]]"""

import math
import sys

import textgen

model = textgen.load(sys.argv[1] if len(sys.argv) > 1 else "english")
if not isinstance(model, textgen.TextModel):
    sys.exit("this model knows words: print(model.score(words))")
text = sys.argv[2] if len(sys.argv) > 2 else "The king went into the garden and ate a spanner."
# The first character is given, so it has no surprisal.
bits = [0.0, *(-model.log_probs(text) / math.log(2))]
at = 0
for word in text.split(" "):
    cost = sum(bits[at : at + len(word)])
    print(f"{cost:6.1f}  {word:12}{'#' * round(cost)}")
    at += len(word) + 1
