"""Writes the checkpoints of this folder, and what PyTorch computes with them, to expected.json.

    python3 tests/checkpoints/make.py       # needs torch (made with 2.11.0) and numpy

The layouts are those in which people share character models: a dictionary with a state_dict and its tokens, and a whole
module that torch.save has pickled. Nothing of textgen is used here.
"""

import argparse
import collections
import datetime
import json
import pathlib
import string
import sys
import types
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

FOLDER = Path(__file__).resolve().parent
TOKENS = tuple("\n !aehlort\u00e9")
CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
EXPECTED = {}


class OneHot(nn.Module):
    """One-hot input, `lstm` (or `gru`, `rnn`) and `fc`."""

    def __init__(self, cell, hidden, layers, tokens=TOKENS, **options):
        super().__init__()
        self.cell, self.size = cell, len(tokens)
        setattr(self, cell, CELLS[cell](len(tokens), hidden, layers, batch_first=True, dropout=0.1, **options))
        self.fc = nn.Linear(hidden, len(tokens))

    def forward(self, ids):
        rnn = getattr(self, self.cell)
        x = F.one_hot(ids, self.size).to(rnn.weight_ih_l0.dtype)
        return self.fc(rnn(x.unsqueeze(0))[0][0])


class CharRNN(nn.Module):
    """`encoder`, `rnn` and `decoder`."""

    def __init__(self, cell, tokens, embedding, hidden, layers, chars=None):
        super().__init__()
        self.n_layers, self.chars = layers, chars
        self.encoder = nn.Embedding(tokens, embedding)
        self.rnn = CELLS[cell](embedding, hidden, layers)
        self.decoder = nn.Linear(hidden, tokens)

    def forward(self, ids):
        return self.decoder(self.rnn(self.encoder(ids).unsqueeze(1))[0][:, 0])


# A module is pickled by the name of its class, as from a program's own model.py.
module = types.ModuleType("model")
module.CharRNN = CharRNN
CharRNN.__module__ = "model"
sys.modules["model"] = module


def random(net):
    """Weights large enough that the gates leave the linear range."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.uniform_(-0.7, 0.7)
    return net.eval()


def write(name, net, saved, tokens=TOKENS, **options):
    torch.save(saved, FOLDER / name, **options)
    ids = torch.randint(len(tokens), (12,))
    with torch.no_grad():
        logits = net(ids).float()
    EXPECTED[name] = {
        "ids": ids.tolist(),
        "logits": [[round(x, 7) for x in row] for row in logits.tolist()],
        "tokens": list(tokens),
    }


def with_tokens(net, hidden, layers):
    return {"n_hidden": hidden, "n_layers": layers, "state_dict": net.state_dict(), "tokens": TOKENS}


def flattened(net):
    """As on a GPU, where all weights of a recurrent module are views of one storage."""
    rnn = getattr(net, net.cell)
    flat = torch.cat([p.detach().reshape(-1) for p in rnn.parameters()])
    at = 0
    for parameter in rnn.parameters():
        parameter.data = flat[at : at + parameter.numel()].view_as(parameter)
        at += parameter.numel()
    return net


def main():
    torch.manual_seed(20)
    for cell in CELLS:
        net = random(OneHot(cell, 6, 2))
        write(f"tokens-{cell}.pt", net, with_tokens(net, 6, 2))
    for cell in ("lstm", "gru"):
        net = random(CharRNN(cell, 100, 5, 5, 2))
        write(f"module-{cell}.pt", net, net, string.printable)

    # Before PyTorch 1.6, without zip. A class comes with its source, for which a line stands here.
    torch.serialization.get_source_lines_and_file = lambda _: (["class: ...\n"], 1, "model.py")
    net = random(OneHot("lstm", 6, 1))
    write("legacy-tokens.pt", net, with_tokens(net, 6, 1), _use_new_zipfile_serialization=False)
    net = random(CharRNN("gru", len(TOKENS), 4, 6, 1, TOKENS))
    write("legacy-module.pt", net, net, _use_new_zipfile_serialization=False)

    # From a GPU: the only differences are the name of the device, and that weights share a storage.
    of_storage, torch.serialization.location_tag = torch.serialization.location_tag, lambda _: "cuda:0"
    net = flattened(random(OneHot("lstm", 6, 2)))
    write("gpu.pt", net, with_tokens(net, 6, 2))
    torch.serialization.location_tag = of_storage

    # A training loop's checkpoint, with dictionaries both ways, protocol 4, and names from DataParallel.
    net = random(OneHot("gru", 6, 1))
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.tensor([1, 2])).sum().backward()
    optimizer.step()
    write("training.pt", net, {
        "epoch": 3, "loss": 1.5,
        "model_state_dict": {f"module.{name}": tensor for name, tensor in net.state_dict().items()},
        "optimizer_state_dict": optimizer.state_dict(),
        "stoi": {token: index for index, token in enumerate(TOKENS)},
        "itos": dict(enumerate(TOKENS)),
    }, pickle_protocol=4)

    # No biases, another order of memory, and what else people save beside their weights; then other precisions.
    net = random(OneHot("lstm", 6, 1, bias=False))
    state = net.state_dict()
    state["lstm.weight_hh_l0"] = state["lstm.weight_hh_l0"].t().contiguous().t()
    write("no-bias.pt", net, {
        "state_dict": state, "chars": "".join(TOKENS), "args": argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("runs")),
        "best": np.float64(1.5), "losses": np.arange(3.0), "counts": collections.defaultdict(int, a=1),
        "frequencies": collections.Counter("aab"), "when": datetime.datetime(2020, 1, 1), "device": torch.device("cuda:0"),
        "dtype": torch.float32, "size": torch.Size([1, 2]), "seen": {1, 2}, "rng": torch.get_rng_state()[:8].clone(),
    })
    for name, dtype in (("half", torch.float16), ("bfloat16", torch.bfloat16), ("double", torch.float64)):
        net = random(OneHot("gru", 6, 1)).to(dtype)
        write(f"{name}.pt", net.float() if dtype != torch.float64 else net,
              {"state_dict": {key: value.to(dtype) for key, value in net.state_dict().items()}, "tokens": TOKENS})

    # A transformer, as nanoGPT names it.
    state = {"transformer.wte.weight": torch.zeros(11, 4), "transformer.h.0.attn.c_attn.weight": torch.zeros(12, 4),
             "lm_head.weight": torch.zeros(11, 4)}
    torch.save({"model": state, "model_args": {"n_layer": 1}, "iter_num": 5}, FOLDER / "transformer.pt")

    lines = [f"{json.dumps(name)}: {json.dumps(case)}" for name, case in EXPECTED.items()]
    (FOLDER / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
