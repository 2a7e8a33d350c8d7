"""A character LSTM in plain PyTorch, as many tutorials have it: char_rnn.py TEXT CHECKPOINT STEPS"""

import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

text = Path(sys.argv[1]).read_text(encoding="utf-8")
chars = tuple(sorted(set(text)))
ids = torch.tensor([chars.index(c) for c in text])
hidden, layers, batch, steps = 128, 1, 32, 64


class CharRNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(len(chars), hidden, layers, batch_first=True)
        self.fc = nn.Linear(hidden, len(chars))

    def forward(self, ids, state=None):
        y, state = self.lstm(F.one_hot(ids, len(chars)).float(), state)
        return self.fc(y), state


torch.set_num_threads(1)
torch.manual_seed(1)
net = CharRNN()
optimizer = torch.optim.Adam(net.parameters(), lr=0.005)
streams = ids[: len(ids) // batch * batch].view(batch, -1)
at, state = 0, None
for _ in range(int(sys.argv[3])):
    if at + steps >= streams.shape[1]:
        at, state = 0, None
    logits, state = net(streams[:, at : at + steps], state)
    state = tuple(part.detach() for part in state)
    loss = F.cross_entropy(logits.flatten(0, 1), streams[:, at + 1 : at + steps + 1].flatten())
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 5)
    optimizer.step()
    at += steps
torch.save({"n_hidden": hidden, "n_layers": layers, "state_dict": net.state_dict(), "tokens": chars}, sys.argv[2])
