"""Writes the golden files of this folder: small networks and what plain PyTorch computes with them.

    python3 tests/golden/make.py            # needs torch (made with 2.11.0), numpy and safetensors

The same version of torch writes the same bytes. README.md in this folder describes the files.
Nothing of textgen is used here: every number comes from nn.LSTM, nn.GRU, nn.RNN and nn.Linear on
the CPU in f32, so that agreement with the Rust code means agreement with PyTorch.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

FOLDER = Path(__file__).resolve().parent
CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


def randomize(module: nn.Module, scale: float = 0.6) -> nn.Module:
    """Weights large enough that the gates leave the linear range."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-scale, scale)
    return module


def named(prefix: str, module: nn.Module) -> dict[str, torch.Tensor]:
    return {f"{prefix}.{name}": p.detach().clone() for name, p in module.named_parameters()}


def write(name: str, tensors: dict, config: dict) -> None:
    """One metadata key only: safetensors writes several in any order, and the bytes would vary."""
    tensors = {key: value.contiguous() for key, value in tensors.items()}
    save_file(tensors, FOLDER / f"{name}.safetensors", {"config": json.dumps(config)})


def config(model: str, cell: str, hidden: int, layers: int, **rest) -> dict:
    base = dict(model=model, cell=cell, hidden=hidden, layers=layers, embedding=0, latent=0,
                bidirectional=False, article=False, inputs=0, outputs=0)
    return base | rest


def char_lstm(cell: str, layers: int, embedding: int) -> None:
    hidden, inputs, outputs, steps = 7, 11, 10, 12
    rnn = randomize(CELLS[cell](embedding or inputs, hidden, layers))
    head = randomize(nn.Linear(hidden, outputs))
    tensors = named("rnn", rnn) | named("head", head)
    symbols = torch.randint(inputs, (steps,))
    targets = torch.randint(outputs, (steps,))
    if embedding:
        table = randomize(nn.Embedding(inputs, embedding))
        tensors |= named("embedding", table)
        x = table(symbols)
    else:
        x = F.one_hot(symbols, inputs).float()
    with torch.no_grad():
        logits = head(rnn(x.unsqueeze(1))[0].squeeze(1))
        loss = F.cross_entropy(logits, targets)
    tensors |= {"golden.input": symbols, "golden.target": targets, "golden.logits": logits,
                "golden.loss": loss.reshape(1)}
    kind = "embedding" if embedding else "onehot"
    write(f"char-lstm-{cell}-{layers}-{kind}", tensors,
          config("char-lstm", cell, hidden, layers, embedding=embedding, inputs=inputs, outputs=outputs))


def final_hidden(rnn: nn.Module, outputs: torch.Tensor, hidden: int) -> torch.Tensor:
    """The top layer's state: forward at the last letter, backward at the first."""
    forward = outputs[-1, 0, :hidden]
    return torch.cat([forward, outputs[0, 0, hidden:]]) if rnn.bidirectional else forward


def word_vae(cell: str, layers: int, bidirectional: bool) -> None:
    hidden, size, latent, inputs, outputs = 7, 5, 3, 11, 9
    eos, bos, lengths = 8, 9, [1, 2, 4, 7]  # 0..7 are letters, 10 is <unk>
    width = hidden * (2 if bidirectional else 1)
    encoder = randomize(CELLS[cell](size, hidden, layers, bidirectional=bidirectional))
    decoder = randomize(CELLS[cell](size + latent, hidden, layers))
    read, write_table = randomize(nn.Embedding(inputs, size)), randomize(nn.Embedding(inputs, size))
    mean, log_var = randomize(nn.Linear(width, latent)), randomize(nn.Linear(width, latent))
    init, head = randomize(nn.Linear(latent, layers * hidden)), randomize(nn.Linear(hidden, outputs))
    tensors = (named("encoder.embedding", read) | named("encoder.rnn", encoder)
               | named("encoder.mean", mean) | named("encoder.log_var", log_var)
               | named("decoder.embedding", write_table) | named("decoder.init", init)
               | named("decoder.rnn", decoder) | named("decoder.head", head))
    words = torch.full((len(lengths), max(lengths)), -1)
    out = {"mean": [], "log_var": [], "z": [], "d": [], "r": []}
    eps = torch.randn(len(lengths), latent)
    logits = torch.zeros(len(lengths), max(lengths) + 1, outputs)
    for row, length in enumerate(lengths):
        letters = torch.randint(eos, (length,))
        words[row, :length] = letters
        with torch.no_grad():
            summary = final_hidden(encoder, encoder(read(letters).unsqueeze(1))[0], hidden)
            mu, lv = mean(summary), log_var(summary).clamp(-10, 10)
            z = mu + (0.5 * lv).exp() * eps[row]
            h0 = init(z).tanh().reshape(layers, 1, hidden)
            given = torch.cat([torch.tensor([bos]), letters])
            x = torch.cat([write_table(given), z.expand(length + 1, latent)], 1).unsqueeze(1)
            y = head(decoder(x, (h0, torch.zeros_like(h0)) if cell == "lstm" else h0)[0].squeeze(1))
            logits[row, : length + 1] = y
            target = torch.cat([letters, torch.tensor([eos])])
            d = F.cross_entropy(y, target, reduction="sum")
            r = 0.5 * (mu**2 + lv.exp() - lv - 1).sum()
        for key, value in dict(mean=mu, log_var=lv, z=z, d=d, r=r).items():
            out[key].append(value)
    tensors |= {f"golden.{key}": torch.stack(value) for key, value in out.items()}
    tensors |= {"golden.words": words, "golden.lengths": torch.tensor(lengths),
                "golden.eps": eps, "golden.logits": logits,
                "golden.bos": torch.tensor([bos]), "golden.eos": torch.tensor([eos])}
    kind = "both" if bidirectional else "forward"
    write(f"word-vae-{cell}-{layers}-{kind}", tensors,
          config("word-vae", cell, hidden, layers, embedding=size, latent=latent,
                 bidirectional=bidirectional, inputs=inputs, outputs=outputs))


def article() -> None:
    """The original article's network: noise drawn anew at every letter, no letter fed back."""
    hidden, size, latent, symbols, steps = 7, 5, 3, 63, 5
    encoder, decoder = randomize(nn.GRU(size, hidden)), randomize(nn.GRU(latent, hidden), 1.5)
    table, head = randomize(nn.Embedding(symbols, size)), randomize(nn.Linear(hidden, symbols), 1.5)
    mean, log_std = randomize(nn.Linear(hidden, latent)), randomize(nn.Linear(hidden, latent))
    word, eps = torch.randint(symbols - 1, (6,)), torch.randn(steps, latent)
    with torch.no_grad():
        last = encoder(table(word).unsqueeze(1))[0][-1, 0]
        mu, std = mean(last), log_std(last).exp()
        z = mu + std * eps
        log_probs = head(decoder(z.unsqueeze(1))[0].squeeze(1)).log_softmax(1)
    tensors = (named("encoder.embedding", table) | named("encoder.rnn", encoder)
               | named("encoder.mean", mean) | named("encoder.log_var", log_std)
               | named("decoder.rnn", decoder) | named("decoder.head", head))
    tensors |= {"article.mean": mu, "article.std": std, "golden.word": word, "golden.eps": eps,
                "golden.log_probs": log_probs, "golden.letters": log_probs.argmax(1),
                "golden.eos": torch.tensor([symbols - 1])}
    write("article", tensors,
          config("word-vae", "gru", hidden, 1, embedding=size, latent=latent, article=True,
                 inputs=symbols, outputs=symbols))


def training(cell: str, layers: int, embedding: int) -> None:
    """200 steps of training: each reads the next `steps` symbols of every stream, the state carried
    over; AMSGrad on gradients clipped to a norm of 1."""
    hidden, inputs, batch, steps, updates = 20, 13, 5, 8, 200
    rnn, head = CELLS[cell](embedding or inputs, hidden, layers), nn.Linear(hidden, inputs)
    table = nn.Embedding(inputs, embedding) if embedding else None
    modules = [module for module in (rnn, head, table) if module]
    parameters = [p for module in modules for p in module.parameters()]
    tensors = named("rnn", rnn) | named("head", head)
    tensors |= named("embedding", table) if embedding else {}
    # Each symbol is mostly the one before it plus 3, so that there is something to learn.
    rows = [torch.randint(inputs, (batch,))]
    for _ in range(updates * steps):
        noise = torch.randint(inputs, (batch,)) * (torch.rand(batch) < 0.2)
        rows.append((rows[-1] + 3 + noise) % inputs)
    streams = torch.stack(rows)
    optimizer = torch.optim.Adam(parameters, lr=3e-3, amsgrad=True)
    state, losses = None, []
    for update in range(updates):
        chunk = streams[update * steps : (update + 1) * steps + 1]
        x = table(chunk[:-1]) if embedding else F.one_hot(chunk[:-1], inputs).float()
        outputs, state = rnn(x, state)
        state = tuple(s.detach() for s in state) if cell == "lstm" else state.detach()
        loss = F.cross_entropy(head(outputs).reshape(-1, inputs), chunk[1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(loss.detach())
    tensors |= {"golden.streams": streams, "golden.losses": torch.stack(losses)}
    write(f"training-{cell}-{layers}", tensors,
          config("char-lstm", cell, hidden, layers, embedding=embedding, inputs=inputs, outputs=inputs))


def dynamic(cell: str, layers: int, embedding: int) -> None:
    """Dynamic evaluation (Krause et al. 2018): the mean loss of each segment of 20 symbols of one text
    before a plain step against its gradient; the state is carried over and detached."""
    hidden, inputs, segment, lr, symbols = 24, 11, 20, 2.0, 1207
    rnn, head = CELLS[cell](embedding or inputs, hidden, layers), nn.Linear(hidden, inputs)
    table = nn.Embedding(inputs, embedding) if embedding else None
    modules = [module for module in (rnn, head, table) if module]
    parameters = [p for module in modules for p in module.parameters()]
    tensors = named("rnn", rnn) | named("head", head)
    tensors |= named("embedding", table) if embedding else {}
    # Each symbol is mostly the one before it plus 3, so that there is something to learn.
    text = [0]
    for _ in range(symbols - 1):
        noise = torch.randint(inputs, ()) if torch.rand(()) < 0.1 else 0
        text.append(int(text[-1] + 3 + noise) % inputs)
    text = torch.tensor(text)
    optimizer = torch.optim.SGD(parameters, lr=lr)
    state, losses = None, []
    for begin in range(0, symbols - 1, segment):
        chunk = text[begin : begin + segment + 1]
        x = table(chunk[:-1]) if embedding else F.one_hot(chunk[:-1], inputs).float()
        outputs, state = rnn(x, state)
        state = tuple(s.detach() for s in state) if cell == "lstm" else state.detach()
        loss = F.cross_entropy(head(outputs), chunk[1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    tensors |= {"golden.tokens": text, "golden.losses": torch.stack(losses), "golden.lr": torch.tensor([lr])}
    write(f"dynamic-{cell}-{layers}", tensors,
          config("char-lstm", cell, hidden, layers, embedding=embedding, inputs=inputs, outputs=inputs))


def main() -> None:
    torch.manual_seed(20)
    torch.set_num_threads(1)
    for cell in CELLS:
        for layers in (1, 2, 3):
            for embedding in (0, 5):
                char_lstm(cell, layers, embedding)
            for bidirectional in (False, True):
                word_vae(cell, layers, bidirectional)
    article()
    for cell, layers, embedding in (("lstm", 1, 0), ("lstm", 2, 6), ("gru", 2, 0), ("rnn", 1, 6)):
        training(cell, layers, embedding)
    for cell, layers, embedding in (("lstm", 1, 0), ("lstm", 2, 6), ("gru", 2, 0), ("rnn", 1, 6)):
        dynamic(cell, layers, embedding)


if __name__ == "__main__":
    main()
