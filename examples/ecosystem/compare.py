"""What each form of a model says of the characters of a text: compare.py TEXT FORM...

A form is a PyTorch checkpoint (.pt), a model file (.safetensors; python:FILE by the module textgen), a graph (.onnx), a
program (.py) or a module (.mjs).
Each line has the mean cost, and by how much a character's log-probability differs at most from that of the first form.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

NODE = """
const [module, text] = process.argv.slice(1);
const { load, state, next, step } = await import(module);
await load();
const chars = [...text], costs = [], all = 100000;
const read = state(chars[0]);
for (const c of chars.slice(1)) {
  costs.push(Math.log(next(read, all).find((one) => one.text === c).p));
  step(read, c);
}
console.log(JSON.stringify(costs));
"""


def from_logits(logits, ids):
    logits = np.asarray(logits, np.float64)[:-1]
    logits -= logits.max(1, keepdims=True)
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return log_probs[np.arange(len(ids) - 1), ids[1:]]


def of_checkpoint(path, text):
    import torch

    saved = torch.load(path, weights_only=True)
    state, tokens = saved["state_dict"], saved["tokens"]
    lstm = torch.nn.LSTM(len(tokens), saved["n_hidden"], saved["n_layers"])
    lstm.load_state_dict({name[5:]: value for name, value in state.items() if name.startswith("lstm.")})
    ids = [tokens.index(c) for c in text]
    with torch.inference_mode():
        y = lstm(torch.nn.functional.one_hot(torch.tensor(ids), len(tokens)).float())[0]
        return from_logits(y @ state["fc.weight"].T + state["fc.bias"], ids)


def of_program(path, text):
    import torch

    spec = importlib.util.spec_from_file_location("program", path)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    writer = program.Writer()
    ids = writer.encode(text)
    with torch.inference_mode():
        return from_logits(writer.net(torch.tensor(ids)[:, None])[0][:, 0], ids)


def of_graph(path, text):
    import onnxruntime

    graph = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    tokens = json.loads(graph.get_modelmeta().custom_metadata_map["tokens"])
    ids = [tokens.index(c) for c in text]
    feeds = {"ids": np.array(ids)[:, None]}
    for value in graph.get_inputs()[1:]:
        feeds[value.name] = np.zeros((value.shape[0], 1, value.shape[2]), np.float32)
    return from_logits(graph.run(["logits"], feeds)[0][:, 0], ids)


def of_model(path, text):
    Path("text.tmp").write_text(text, encoding="utf-8", newline="")
    score = ["textgen", "score", "--run", path, "--per", "char", "--json", "text.tmp"]
    said = subprocess.run(score, stdout=subprocess.PIPE, check=True).stdout
    Path("text.tmp").unlink()
    costs = [json.loads(line)["models"][0]["nats"] for line in said.splitlines()]
    return -np.array(costs[1:])


def of_python(path, text):
    import textgen

    return textgen.load(path).log_probs(text)


def of_module(path, text):
    path = str(Path(path).resolve())
    said = subprocess.run(["node", "--input-type=module", "-e", NODE, path, text], stdout=subprocess.PIPE, check=True)
    return np.array(json.loads(said.stdout))


FORMS = {".pt": of_checkpoint, ".py": of_program, ".onnx": of_graph, ".safetensors": of_model, ".mjs": of_module}
text, first = Path(sys.argv[1]).read_text(encoding="utf-8")[:300], None
for form in sys.argv[2:]:
    kind, _, path = form.rpartition(":")
    found = (of_python if kind == "python" else FORMS[Path(path).suffix])(path, text)
    first = found if first is None else first
    print(f"{form:<26} {-found.mean():.6f} nats/char, differs by at most {np.abs(found - first).max():.0e}")
