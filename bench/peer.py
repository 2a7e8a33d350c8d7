#!/usr/bin/env python3
"""The peer of textgen's benchmark: the same networks in eager PyTorch, as its users write them.

    peer.py sample             tokens of a char-lstm drawn one after the other
    peer.py sample --batch 64  64 texts at once
    peer.py words --batch 64   letters of a word-vae's decoder
    peer.py train              training steps of a char-lstm
    peer.py train --model word-vae --hidden 256
    peer.py train --model word-vae --words names.txt
                               the same on words of a list, one a line
    peer.py gemm               a large product of matrices
    peer.py serve              answer requests, one line of JSON each way: sampling.py and
                               training.py ask

Prints one line of JSON for each configuration. README.md says how to install PyTorch.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

SHAPES = [(128, 1), (128, 2), (256, 1), (512, 1), (512, 2)]
TEMPERATURE = 0.5
LATENT = 32
EMBEDDING = 32
WORD_LETTERS = 8  # of a word that is written, <eos> among them
CLIP = 5.0
GEMM = 2048  # rows and columns of each matrix
WORD_BATCHES = 64  # drawn from a list of words, and read in turn
IGNORED = -100  # no loss where this is wanted

# One unit of work; how many tokens, words or operations it is, is said beside it.
Work = Callable[[], None]


@dataclass(frozen=True)
class Request:
    """What to measure; `what` is sample, words, train or gemm."""

    what: str = "sample"
    model: str = "char-lstm"
    cell: str = "lstm"
    hidden: int = 128
    layers: int = 1
    batch: int = 1
    seq: int = 1
    vocab: int = 96
    threads: int = 1
    seconds: float = 2.0
    word_list: str | None = None
    device: str = "cpu"  # training may be on cuda
    precision: str = "f32"  # on cuda: tf32 for every product, or bf16 by autocast
    graph: bool = False  # on cuda: the whole step as one CUDA graph

    def shape(self) -> Request:
        """The request without what does not change the network, so that it can be kept."""
        return Request(**{**vars(self), "threads": 1, "seconds": 0.0})

    @staticmethod
    def read(line: str) -> Request:
        """From one line of JSON; keys that are not known are an error."""
        return Request(**json.loads(line))


def measured(
    work: Work, seconds: float, slices: int = 10, wait: Callable[[], None] = lambda: None
) -> list[tuple[int, float]]:
    """Units of work and seconds of each of several slices of time, after one to warm up.

    A slice has at least one unit of work; slow work makes fewer slices, but at least three. `wait`
    lets a device end what it was given.
    """
    found: list[tuple[int, float]] = []
    end = float("inf")
    while len(found) < 4 or time.perf_counter() < end and len(found) <= slices:
        start = now = time.perf_counter()
        done = 0
        while done == 0 or now - start < seconds / slices:
            work()
            done += 1
            now = time.perf_counter()
        wait()
        now = time.perf_counter()
        found.append((done, now - start))
        if len(found) == 1:
            end = now + seconds
    return found[1:]


def recurrent(cell: str) -> type[nn.RNNBase]:
    """PyTorch's module for a cell."""
    return {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[cell]


def draw(logits: Tensor) -> Tensor:
    """One token a row, (batch, 1), from logits (batch, vocab)."""
    weights = functional.softmax(logits / TEMPERATURE, dim=-1)
    return torch.multinomial(weights, 1)


def sampling(request: Request) -> tuple[Work, int]:
    """A char-lstm that reads what it has drawn, one-hot."""
    vocab = request.vocab
    network = recurrent(request.cell)(vocab, request.hidden, request.layers, batch_first=True)
    head = nn.Linear(request.hidden, vocab)
    token = torch.zeros(request.batch, 1, dtype=torch.long)
    state: Any = None

    def step() -> None:
        nonlocal token, state
        one_hot = functional.one_hot(token, vocab).float()
        hidden, state = network(one_hot, state)
        token = draw(head(hidden[:, -1]))

    return step, request.batch


class Decoder(nn.Module):
    """The word-vae's decoder: z gives the first state and is read again with every letter."""

    def __init__(self, hidden: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(inputs, EMBEDDING)
        self.init = nn.Linear(LATENT, hidden)
        self.rnn = nn.GRU(EMBEDDING + LATENT, hidden, batch_first=True)
        self.head = nn.Linear(hidden, outputs)

    def first(self, z: Tensor) -> Tensor:
        """The state (1, batch, hidden) before the first letter."""
        return torch.tanh(self.init(z)).unsqueeze(0)

    def forward(self, letters: Tensor, z: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (batch, letters, outputs) and the state after them."""
        latent = z.unsqueeze(1).expand(-1, letters.shape[1], -1)
        read = torch.cat((self.embedding(letters), latent), dim=2)
        hidden, state = self.rnn(read, state)
        return self.head(hidden), state


def writing(request: Request) -> tuple[Work, int]:
    """Whole words from the prior, `batch` at a time."""
    decoder = Decoder(request.hidden, request.vocab + 1, request.vocab)

    def words() -> None:
        z = torch.randn(request.batch, LATENT)
        state = decoder.first(z)
        letter = torch.full((request.batch, 1), request.vocab)
        for _ in range(WORD_LETTERS):
            logits, state = decoder(letter, z, state)
            letter = draw(logits[:, -1])

    return words, request.batch * WORD_LETTERS


def training_char_lstm(request: Request) -> tuple[Work, int]:
    """One step of truncated back-propagation; the state is carried on, as a reader of text does."""
    vocab = request.vocab
    one_hot = nn.Embedding.from_pretrained(torch.eye(vocab), freeze=True)
    network = recurrent(request.cell)(vocab, request.hidden, request.layers, batch_first=True)
    head = nn.Linear(request.hidden, vocab)
    weights = [*network.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(
        weights, lr=2e-3, amsgrad=True, fused=True, capturable=request.graph
    )
    text = torch.randint(vocab, (request.batch, request.seq + 1))
    read, wanted = text[:, :-1], text[:, 1:].flatten()
    state: Any = None
    kept = [torch.zeros(request.layers, request.batch, request.hidden) for _ in range(2)]
    if request.graph:
        state = tuple(kept) if request.cell == "lstm" else kept[0]

    def step() -> None:
        nonlocal state
        with lower(request):
            hidden, after = network(one_hot(read), state)
            loss = functional.cross_entropy(head(hidden).flatten(0, 1), wanted)
        parts = [part.detach() for part in (after if request.cell == "lstm" else [after])]
        descend(optimizer, weights, loss)
        if request.graph:  # a graph reads and writes the same memory each time
            for own, part in zip(kept, parts):
                own.copy_(part)
        else:
            state = tuple(parts) if request.cell == "lstm" else parts[0]

    return captured(step) if request.graph else step, request.batch * request.seq


def lower(request: Request) -> torch.autocast:
    """PyTorch's own way to a lower precision."""
    return torch.autocast("cuda", torch.bfloat16, enabled=request.precision == "bf16")


def captured(step: Work) -> Work:
    """A step as one CUDA graph, after some steps to warm up."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        step()
    return graph.replay


@dataclass(frozen=True)
class Words:
    """A batch of words as the word-vae reads and predicts them, each (batch, tokens)."""

    letters: Tensor
    inputs: Tensor
    wanted: Tensor


def words_of_one_length(request: Request) -> list[Words]:
    """One batch of random tokens, the same for encoder, decoder and loss."""
    words = torch.randint(request.vocab, (request.batch, request.seq))
    return [Words(words, words, words)]


def words_of_a_list(path: str, batch: int) -> tuple[list[Words], int]:
    """Batches drawn from a list, padded to the longest word of each, and the tokens there are.

    The encoder reads letters, the decoder `<bos>` and letters, and it predicts letters and `<eos>`;
    what stands after the end of a word is read, as `<bos>`, but not counted in the loss.
    """
    words = [word for word in Path(path).read_text(encoding="utf-8").splitlines() if word]
    alphabet = {letter: index for index, letter in enumerate(sorted(set("".join(words))))}
    eos = len(alphabet)
    bos = eos + 1
    generator = random.Random(0)

    def padded(rows: list[list[int]], filling: int) -> Tensor:
        return nn.utils.rnn.pad_sequence(
            [torch.tensor(row) for row in rows], batch_first=True, padding_value=filling
        )

    def draw_batch() -> Words:
        rows = [[alphabet[letter] for letter in word] for word in generator.sample(words, batch)]
        return Words(
            padded(rows, bos),
            padded([[bos, *row] for row in rows], bos),
            padded([[*row, eos] for row in rows], IGNORED),
        )

    return [draw_batch() for _ in range(WORD_BATCHES)], bos + 1


def training_word_vae(request: Request) -> tuple[Work, int]:
    """One step on a batch of words: reconstruction and divergence. Its unit is a word."""
    vocab, hidden = request.vocab, request.hidden
    if request.word_list:
        batches, vocab = words_of_a_list(request.word_list, request.batch)
    else:
        batches = words_of_one_length(request)
    embedding = nn.Embedding(vocab, EMBEDDING)
    encoder = nn.GRU(EMBEDDING, hidden, bidirectional=True, batch_first=True)
    to_mean, to_log_var = nn.Linear(2 * hidden, LATENT), nn.Linear(2 * hidden, LATENT)
    decoder = Decoder(hidden, vocab, vocab)
    modules = (embedding, encoder, to_mean, to_log_var, decoder)
    weights = [weight for module in modules for weight in module.parameters()]
    optimizer = torch.optim.Adam(weights, lr=1e-3, fused=True, capturable=request.graph)

    def step(words: Words) -> None:
        with lower(request):
            _, (forward, backward) = encoder(embedding(words.letters))
            summary = torch.cat((forward, backward), dim=1)
            mean, log_var = to_mean(summary), to_log_var(summary)
            z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
            logits, _ = decoder(words.inputs, z, decoder.first(z))
            likelihood = functional.cross_entropy(
                logits.flatten(0, 1), words.wanted.flatten(), ignore_index=IGNORED, reduction="sum"
            )
        divergence = 0.5 * (mean.square() + log_var.exp() - 1.0 - log_var).sum()
        descend(optimizer, weights, (likelihood + divergence) / request.batch)

    steps = [functools.partial(step, words) for words in batches]
    if request.graph:
        steps = [captured(step) for step in steps]
    in_turn: Iterator[Work] = itertools.cycle(steps)
    return lambda: next(in_turn)(), request.batch


def product() -> tuple[Work, int]:
    """A product of two large matrices in f32; its unit is an operation."""
    left, right = torch.randn(GEMM, GEMM), torch.randn(GEMM, GEMM)
    out = torch.empty(GEMM, GEMM)

    def multiply() -> None:
        torch.mm(left, right, out=out)

    return multiply, 2 * GEMM**3


def descend(optimizer: torch.optim.Optimizer, weights: list[Tensor], loss: Tensor) -> None:
    """One step down the gradient of `loss`, clipped by its norm."""
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(weights, CLIP)
    optimizer.step()


@functools.lru_cache(maxsize=None)
def build(request: Request) -> tuple[Work, int]:
    """The work that a request asks for, and the units in it: tokens, words or operations."""
    torch.manual_seed(0)
    if request.what == "sample":
        return sampling(request)
    if request.what == "words":
        return writing(request)
    if request.what == "train":
        return {"char-lstm": training_char_lstm, "word-vae": training_word_vae}[request.model](
            request
        )
    if request.what == "gemm":
        return product()
    raise ValueError(f"{request.what!r}: not one of sample, words, train, gemm")


def rate_of(request: Request) -> float:
    """Units a second: the median over slices of time, or the mean where steps are not alike."""
    on_cuda = request.device != "cpu"
    if on_cuda:
        torch.backends.cuda.matmul.allow_tf32 = request.precision == "tf32"
        torch.backends.cudnn.allow_tf32 = request.precision == "tf32"
    with torch.device(request.device):
        work, units = build(request.shape())
    wait = torch.cuda.synchronize if on_cuda else lambda: None
    with torch.inference_mode(request.what in ("sample", "words")):
        found = measured(work, request.seconds, wait=wait)
    if request.word_list:
        return units * sum(done for done, _ in found) / sum(seconds for _, seconds in found)
    return units * statistics.median(done / seconds for done, seconds in found)


def measure(request: Request) -> dict[str, Any]:
    """The rate of a request, with what it was measured of."""
    torch.set_num_threads(request.threads)
    rate = rate_of(request)
    if request.what == "gemm":
        return {"what": "gemm", "size": GEMM, "threads": request.threads,
                "flops_per_second": round(rate)}
    what = f"train {request.model}" if request.what == "train" else request.what
    if request.what != "words" and request.model == "char-lstm" and request.cell != "lstm":
        what += f" {request.cell}"
    found = {
        "what": what,
        "hidden": request.hidden,
        "layers": request.layers,
        "batch": request.batch,
        "seq": request.seq,
        "vocab": request.vocab,
        "threads": request.threads,
    }
    if what != "train word-vae":
        return {**found, "chars_per_second": round(rate, 1)}
    found["words_per_second"] = round(rate, 1)
    if request.word_list:
        del found["seq"], found["vocab"]  # those of the list
        return {**found, "word_list": Path(request.word_list).name}
    return {**found, "chars_per_second": round(rate * request.seq, 1)}


def memory() -> dict[str, Any]:
    """Bytes resident now and at the most so far; none where the system does not tell."""
    found: dict[str, Any] = {"what": "memory", "resident_bytes": None, "peak_bytes": None}
    names = {"VmRSS:": "resident_bytes", "VmHWM:": "peak_bytes"}
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return found
    for name, value, *_ in (line.split() for line in lines if line.startswith(tuple(names))):
        found[names[name]] = 1024 * int(value)
    return found


def answer(line: str) -> dict[str, Any]:
    """The answer to one line of a driver."""
    try:
        what = json.loads(line).get("what")
        if what == "about":
            cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else None
            return {"what": "about", "torch": torch.__version__, "cuda": cuda, "cpu": "cpu"}
        if what == "memory":
            return memory()
        return measure(Request.read(line))
    except Exception as error:  # whatever it is, the driver reports it
        return {"error": f"{type(error).__name__}: {error}"}


def serve() -> None:
    """Answers every line of stdin until it ends."""
    for line in sys.stdin:
        print(json.dumps(answer(line)), flush=True)


def requests(arguments: argparse.Namespace) -> list[Request]:
    """What the command line asks for, with the defaults of each network."""
    if arguments.what == "gemm":
        return [Request("gemm", threads=arguments.threads or 2, seconds=arguments.seconds or 2.0)]
    word_vae = arguments.what == "words" or arguments.model == "word-vae"
    training = arguments.what == "train"
    shapes = SHAPES
    if arguments.hidden:
        shapes = [(arguments.hidden, arguments.layers)]
    elif word_vae:
        shapes = [(256, 1)]
    given = {
        field.name: getattr(arguments, field.name)
        for field in fields(Request)
        if getattr(arguments, field.name, None) is not None
    }
    defaults = {
        "batch": (128 if word_vae else 64) if training else 1,
        "seq": (10 if word_vae else 64) if training else 1,
        "vocab": (32 if training else 30) if word_vae else 96,
        "threads": 2,
    }
    return [
        Request(**{**defaults, **given, "hidden": hidden, "layers": layers})
        for hidden, layers in shapes
    ]


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["sample", "words", "train", "gemm", "serve"])
    parser.add_argument("--model", choices=["char-lstm", "word-vae"], default="char-lstm")
    parser.add_argument("--cell", choices=["lstm", "gru", "rnn"], default="lstm")
    parser.add_argument("--hidden", type=int, help="default: every shape of the benchmark")
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--batch", type=int, help="default: 1; training 64 texts or 128 words")
    parser.add_argument("--seq", type=int, help="default when training: 64; words 10")
    parser.add_argument("--vocab", type=int, help="default: 96; words 30 or, training, 32")
    parser.add_argument("--device", help="for training: cpu (default) or cuda")
    parser.add_argument("--threads", type=int, help="default: 2")
    parser.add_argument("--seconds", type=float, help="for each configuration; default: 2")
    parser.add_argument("--words", dest="word_list", metavar="FILE",
                        help="train a word-vae on these, one a line; default: random tokens")
    arguments = parser.parse_args()
    if arguments.what == "serve":
        return serve()
    for request in requests(arguments):
        print(json.dumps(measure(request)), flush=True)


if __name__ == "__main__":
    main()
