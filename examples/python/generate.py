"""Continues a prompt, as the text is written: python examples/python/generate.py [MODEL [PROMPT]]

A model is the name of a run, a model file, or `english`, which comes with textgen.
"""

import sys

import textgen

model = textgen.load(sys.argv[1] if len(sys.argv) > 1 else "english")
if not isinstance(model, textgen.TextModel):
    sys.exit("this model invents words: print(model.generate(20))")
prompt = sys.argv[2] if len(sys.argv) > 2 else "Once upon a time"
print(prompt, end="")
for piece in model.stream(prompt, length=300, temperature=0.5, seed=1):
    print(piece, end="", flush=True)
print()
