"""Trains a small model, and shows how it goes: python examples/python/train.py [TEXT_FILE [MINUTES]]"""

import sys

import textgen


def show(progress: textgen.Progress) -> None:
    bar = "#" * round(30 * progress.fraction)
    print(f"\r[{bar:30}] loss {progress.loss:.3f} nats/char, {progress.chars_per_second:,.0f} chars/s", end="")
    if progress.evaluated:
        print(f"\nstep {progress.step}: validation {progress.valid_loss}")


corpus = sys.argv[1] if len(sys.argv) > 1 else "fairy-tales"
minutes = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
# With run="NAME" it would be kept in runs/NAME.
model = textgen.train(corpus, model="char-lstm", minutes=minutes, callback=show, quiet=True)
print(model)
if isinstance(model, textgen.TextModel):
    print(model.generate("The ", length=200, temperature=0.5, seed=1))
