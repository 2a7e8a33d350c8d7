#!/usr/bin/env python3
"""Loss against time: textgen's trainings beside the same network in eager PyTorch.

    curve.py train TEXT --minutes 3 >lstm.jsonl
                        trains an LSTM in PyTorch as `textgen train --model char-lstm --minutes 3
                        --schedule cosine` does
    curve.py draw OUT.svg 'LSTM=runs/lstm/metrics.jsonl' 'PyTorch=lstm.jsonl'
                        draws the validation loss of trainings against their seconds

README.md says how to install PyTorch; drawing needs none.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

VALID = 0.1  # the last tenth is held out
WARMUP = 100  # steps
FINAL_LR = 0.01  # of the learning rate
SIZE = (720, 400)
MARGIN = (60, 40, 130, 44)  # left, top, right, bottom
COLORS = ["#3f78d6", "#2f8a3e", "#c2660a", "#d8473f", "#8f5fd6"]
GREY = "#7d7d7d"


def train(arguments: argparse.Namespace) -> None:
    """Trains, and prints one line of JSON for each evaluation."""
    import torch
    from torch import nn
    from torch.nn import functional

    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    text = Path(arguments.text).read_text(encoding="utf-8")
    places = {token: place for place, token in enumerate(sorted(set(text)))}
    tokens = torch.tensor([places[token] for token in text])
    split = len(tokens) - int(len(tokens) * VALID)
    valid, vocab, hidden = tokens[split:], len(places), arguments.hidden
    length = split // arguments.batch
    streams = tokens[: length * arguments.batch].view(arguments.batch, length)

    rnn = nn.LSTM(vocab, hidden, batch_first=True)
    head = nn.Linear(hidden, vocab)
    drop = nn.Dropout(arguments.dropout)
    network = nn.ModuleList([rnn, head, drop])
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=arguments.lr, betas=(0.9, 0.99), weight_decay=0.01)

    def nats(inputs: Any, targets: Any, state: Any) -> tuple[Any, Any]:
        """The mean loss and the state after it."""
        outputs, state = rnn(functional.one_hot(inputs, vocab).float(), state)
        logits = head(drop(outputs))
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten()), state

    def evaluated() -> float:
        """The loss on all that is held out, the state carried through it."""
        network.eval()
        sums, state = 0.0, None
        with torch.no_grad():
            for at in range(0, len(valid) - 1, 4096):
                piece = valid[at : at + 4097]
                loss, state = nats(piece[None, :-1], piece[None, 1:], state)
                sums += float(loss) * (len(piece) - 1)
        network.train()
        return sums / (len(valid) - 1)

    budget, started, paused = arguments.minutes * 60, time.perf_counter(), 0.0
    state, at, step, shown = None, 0, 0, 0
    while (seconds := time.perf_counter() - started - paused) < budget:
        fraction = seconds / budget
        cosine = FINAL_LR + (1 - FINAL_LR) * 0.5 * (1 + math.cos(math.pi * fraction))
        for group in optimizer.param_groups:
            group["lr"] = arguments.lr * cosine * min(1, (step + 1) / WARMUP)
        if at + arguments.seq + 1 > length:
            at, state = 0, None
        piece = streams[:, at : at + arguments.seq + 1]
        optimizer.zero_grad()
        loss, state = nats(piece[:, :-1], piece[:, 1:], state)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        state = tuple(part.detach() for part in state)
        at, step = at + arguments.seq, step + 1
        if fraction * arguments.evaluations >= shown + 1:
            shown += 1
            seconds = report(step, started, paused, arguments, evaluated)
            paused = time.perf_counter() - started - seconds
    report(step, started, paused, arguments, evaluated)


def report(
    step: int, started: float, paused: float, arguments: argparse.Namespace, evaluated: Any
) -> float:
    """Prints the loss after so many steps, and returns the seconds of training so far."""
    seconds = time.perf_counter() - started - paused
    line = {"step": step, "chars": step * arguments.batch * arguments.seq, "seconds": seconds,
            "valid": {"loss_nats_per_char": evaluated()}}
    print(json.dumps(line), flush=True)
    return seconds


def curve(path: str) -> list[tuple[float, float]]:
    """Seconds and nats per character of each evaluation."""
    lines = map(json.loads, Path(path).read_text(encoding="utf-8").splitlines())
    return [(line["seconds"], line["valid"]["loss_nats_per_char"]) for line in lines
            if line.get("valid")]


def draw(arguments: argparse.Namespace) -> None:
    """Writes the picture."""
    named = [one.partition("=")[::2] for one in arguments.curves]
    curves = [(name, curve(path)) for name, path in named]
    latest = max(seconds for _, points in curves for seconds, _ in points)
    losses = [loss for _, points in curves for _, loss in points]
    lowest = math.floor(min(losses) * 20) / 20
    highest = min(math.ceil(max(losses) * 20) / 20, lowest + arguments.height)
    left, top, right, bottom = MARGIN
    width, height = SIZE

    def place(seconds: float, loss: float) -> tuple[float, float]:
        across = left + (width - left - right) * seconds / latest
        down = top + (height - top - bottom) * (highest - loss) / (highest - lowest)
        return across, down

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="Helvetica, Arial, sans-serif" font-size="12">',
        f'<text x="{left}" y="24" font-size="15" fill="{GREY}">{arguments.title}</text>',
    ]
    marks = [lowest + 0.05 * k for k in range(round((highest - lowest) / 0.05) + 1)]
    for loss in marks[:: max(1, len(marks) // 8)]:
        across, down = place(0, loss)
        parts.append(f'<path d="M{across} {down:.1f}H{width - right}" stroke="{GREY}" '
                     f'stroke-opacity="0.3"/><text x="{across - 8}" y="{down + 4:.1f}" '
                     f'text-anchor="end" fill="{GREY}">{loss:.2f}</text>')
    every = 60 if latest > 150 else 10
    for seconds in range(0, int(latest) + 1, every):
        across, down = place(seconds, lowest)
        parts.append(f'<text x="{across:.1f}" y="{down + 18:.1f}" text-anchor="middle" '
                     f'fill="{GREY}">{seconds} s</text>')
    down = top
    for (name, points), color in zip(curves, COLORS):
        shown = [place(*point) for point in points if point[1] <= highest]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in shown)
        parts.append(f'<path d="M{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in shown]
        parts.append(f'<text x="{width - right + 12}" y="{down + 12}" fill="{color}">{name}</text>'
                     f'<text x="{width - right + 12}" y="{down + 27}" font-size="11" '
                     f'fill="{color}">{points[-1][1]:.3f} at the end</text>')
        down += 44
    Path(arguments.out).write_text("\n".join([*parts, "</svg>", ""]), encoding="utf-8")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    of_train = commands.add_parser("train", help="train in PyTorch")
    of_train.add_argument("text")
    of_train.add_argument("--minutes", type=float, default=3.0)
    of_train.add_argument("--hidden", type=int, default=256)
    of_train.add_argument("--batch", type=int, default=32)
    of_train.add_argument("--seq", type=int, default=32)
    of_train.add_argument("--lr", type=float, default=0.02)
    of_train.add_argument("--dropout", type=float, default=0.25)
    of_train.add_argument("--threads", type=int, default=2)
    of_train.add_argument("--seed", type=int, default=42)
    of_train.add_argument("--evaluations", type=int, default=10)
    of_train.set_defaults(run=train)
    of_draw = commands.add_parser("draw", help="draw trainings")
    of_draw.add_argument("out")
    of_draw.add_argument("curves", nargs="+", metavar="NAME=METRICS")
    of_draw.add_argument("--title", default="Validation loss, nats a character")
    of_draw.add_argument("--height", type=float, default=0.6, help="nats above the lowest shown")
    of_draw.set_defaults(run=draw)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
