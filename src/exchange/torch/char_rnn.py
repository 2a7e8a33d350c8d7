"""A model of textgen in plain PyTorch: a character-level language model. Needs torch, and the weights beside it.

    python THIS.py --prompt 'Once upon' --length 300 --temperature 0.7 --seed 1

The weights, THIS.safetensors, have PyTorch's names and gate order, and say in their metadata what network they are of.
"""

import argparse
import json
import unicodedata
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F


def read(path):
    """The tensors of a safetensors file, and what textgen says of them."""
    data = bytearray(Path(path).read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    about = json.loads(header.pop("__metadata__")["textgen"])
    tensors = {}
    for name, info in header.items():
        if info["dtype"] == "F32":
            first, end = (start + at for at in info["data_offsets"])
            tensors[name] = torch.frombuffer(data[first:end], dtype=torch.float32).reshape(info["shape"])
    return tensors, about


class CharRnn(nn.Module):
    def __init__(self, network):
        super().__init__()
        inputs, size, hidden = (network[key] for key in ("inputs", "embedding", "hidden"))
        cell = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[network["cell"]]
        self.inputs = inputs
        self.embedding = nn.Embedding(inputs, size) if size else None
        self.rnn = cell(size or inputs, hidden, network["layers"])
        self.head = nn.Linear(hidden, network["outputs"])

    def forward(self, ids, state=None):
        """ids (time, batch) -> logits (time, batch, outputs), and the state after them"""
        x = self.embedding(ids) if self.embedding else F.one_hot(ids, self.inputs).float()
        y, state = self.rnn(x, state)
        return self.head(y), state


class Writer:
    def __init__(self, path=Path(__file__).with_suffix(".safetensors")):
        tensors, about = read(path)
        self.text, vocabulary = about["text"], about["vocabulary"]
        self.net = CharRnn(about["network"]).eval()
        self.net.load_state_dict(tensors)
        # A token is a character, a cluster of them, or a byte; here all are bytes.
        self.tokens = [bytes([t]) if isinstance(t, int) else t.encode() for t in vocabulary["symbols"]]
        self.ids = {token: index for index, token in enumerate(self.tokens)}
        self.eos, self.unk = vocabulary["eos"], vocabulary["unk"]

    def encode(self, text):
        if self.text["normalize"] in ("nfc", "nfkc"):
            text = unicodedata.normalize(self.text["normalize"].upper(), text)
        rest, ids = (text.lower() if self.text["lowercase"] else text).encode(), []
        while rest:
            size = next((n for n in range(min(len(rest), 256), 0, -1) if rest[:n] in self.ids), None)
            if size is None:
                raise ValueError(f"the model does not know {rest.decode(errors='replace')[0]!r}")
            ids.append(self.ids[rest[:size]])
            rest = rest[size:]
        return ids

    @torch.inference_mode()
    def generate(self, prompt="", length=500, temperature=1.0, seed=None):
        generator = torch.Generator()
        generator.manual_seed(seed) if seed is not None else generator.seed()
        # A document begins with <eos>, read from a zero state; another text with the end of a line.
        ids = ([] if self.eos is None else [self.eos]) + self.encode(prompt) or [self.ids.get(b"\n", 0)]
        logits, state = self.net(torch.tensor(ids)[:, None])
        written = b""
        for _ in range(length):
            scores = logits[-1, 0].clone()
            if self.unk is not None:
                scores[self.unk] = float("-inf")
            if temperature == 0:
                token = scores.argmax().item()
            else:
                token = torch.multinomial((scores / temperature).softmax(0), 1, generator=generator).item()
            if token == self.eos:
                break
            written += self.tokens[token]
            logits, state = self.net(torch.tensor([[token]]), state)
        return written.decode(errors="replace")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--prompt", default="")
    parser.add_argument("--length", type=int, default=500)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--seed", type=int)
    flags = parser.parse_args()
    print(flags.prompt + Writer().generate(**vars(flags)))
