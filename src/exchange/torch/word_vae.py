"""A model of textgen in plain PyTorch: an autoencoder that invents words. Needs torch, and the weights beside it.

    python THIS.py --count 20 --temperature 0.8 --seed 1

The weights, THIS.safetensors, have PyTorch's names and gate order, and say in their metadata what network they are of.
"""

import argparse
import json
from pathlib import Path

import torch
from torch import nn

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


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


class Encoder(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.ways = 1 + n["bidirectional"]
        self.embedding = nn.Embedding(n["inputs"], n["embedding"])
        self.rnn = CELLS[n["cell"]](n["embedding"], n["hidden"], n["layers"], bidirectional=n["bidirectional"])
        self.mean = nn.Linear(self.ways * n["hidden"], n["latent"])
        self.log_var = nn.Linear(self.ways * n["hidden"], n["latent"])

    def forward(self, ids):
        """letters of words of one length (time, batch) -> mu, log_var (batch, Z)"""
        state = self.rnn(self.embedding(ids))[1]
        hidden = state[0] if isinstance(state, tuple) else state
        summary = torch.cat(list(hidden[-self.ways :]), 1)
        return self.mean(summary), self.log_var(summary).clamp(-10, 10)


class Decoder(nn.Module):
    def __init__(self, n):
        super().__init__()
        latent, z = n["latent"], n.get("z", "both")
        self.shape, self.has_cells = (n["layers"], n["hidden"]), n["cell"] == "lstm"
        self.reads_z = latent > 0 and z != "start"
        self.embedding = nn.Embedding(n["inputs"], n["embedding"])
        self.init = nn.Linear(latent, n["layers"] * n["hidden"]) if latent and z != "steps" else None
        self.rnn = CELLS[n["cell"]](n["embedding"] + self.reads_z * latent, n["hidden"], n["layers"])
        self.head = nn.Linear(n["hidden"], n["outputs"])

    def start(self, z):
        """z (batch, Z) -> the state before <bos>"""
        layers, hidden = self.shape
        h = self.init(z).tanh() if self.init else torch.zeros(len(z), layers * hidden)
        h = h.reshape(len(z), layers, hidden).transpose(0, 1).contiguous()
        return (h, torch.zeros_like(h)) if self.has_cells else h

    def forward(self, ids, z, state):
        """ids (time, batch) -> logits (time, batch, outputs), and the state after them"""
        x = self.embedding(ids)
        x = torch.cat([x, z.expand(len(ids), *z.shape)], 2) if self.reads_z else x
        y, state = self.rnn(x, state)
        return self.head(y), state


class WordVae(nn.Module):
    def __init__(self, path=Path(__file__).with_suffix(".safetensors")):
        super().__init__()
        tensors, about = read(path)
        vocabulary, n = about["vocabulary"], about["network"]
        self.encoder = Encoder(n) if n["latent"] else None
        self.decoder = Decoder(n)
        self.load_state_dict(tensors)
        self.eval()
        self.latent, self.letters = n["latent"], vocabulary["symbols"]
        self.bos, self.eos, self.unk = vocabulary["bos"], vocabulary["eos"], vocabulary["unk"]

    @torch.inference_mode()
    def encode(self, word):
        """the mean of z (1, Z) for a word of known letters"""
        return self.encoder(torch.tensor([[self.letters.index(letter)] for letter in word]))[0]

    @torch.inference_mode()
    def decode(self, z, temperature=0.0, generator=None, longest=64):
        """the word of z (1, Z); the most probable letter each time if the temperature is 0"""
        token, state, letters = self.bos, self.decoder.start(z), []
        while len(letters) < longest:
            logits, state = self.decoder(torch.tensor([[token]]), z, state)
            scores = logits[-1, 0].clone()
            scores[self.unk :] = float("-inf")
            if temperature == 0:
                token = scores.argmax().item()
            else:
                token = torch.multinomial((scores / temperature).softmax(0), 1, generator=generator).item()
            if token == self.eos:
                break
            letters.append(self.letters[token])
        letters = [bytes([letter]) if isinstance(letter, int) else letter.encode() for letter in letters]
        return b"".join(letters).decode(errors="replace")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--seed", type=int)
    flags = parser.parse_args()
    generator, model = torch.Generator(), WordVae()
    generator.manual_seed(flags.seed) if flags.seed is not None else generator.seed()
    for _ in range(flags.count):
        print(model.decode(torch.randn(1, model.latent, generator=generator), flags.temperature, generator))
