"""Compares ONNX files with what textgen computes: onnx_graphs.py CASES.json, which tests/cli/exchange.rs writes.

Every graph must pass onnx.checker, read a batch at once and one id at a time, and carry its vocabulary.
"""

import json
import sys

import numpy as np
import onnx
import onnxruntime

CLOSE = 1e-5


def session(path):
    onnx.checker.check_model(onnx.load(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def close(found, wanted, what):
    wanted = np.array(wanted, np.float32)
    assert found.shape == wanted.shape, (what, found.shape, wanted.shape)
    assert np.abs(found - wanted).max() <= CLOSE, (what, np.abs(found - wanted).max())
    return np.abs(found - wanted).max()


def states(graph, batch):
    """Noise where a state will be forgotten, so that it must be; else zeros."""
    return {
        value.name: np.zeros((value.shape[0], batch, value.shape[2]), np.float32)
        for value in graph.get_inputs()
        if value.name in ("h0", "c0")
    }


def read(graph, case, extra):
    """All ids at once, and then one at a time with the states handed on."""
    ids = np.array(case["ids"], np.int64)
    feeds = states(graph, ids.shape[1]) | extra
    if case["begins"]:
        for name in ("h0", "c0"):
            if name in feeds:
                feeds[name] = feeds[name] + 0.7
    worst = close(graph.run(["logits"], feeds | {"ids": ids})[0], case["logits"], case["file"])
    names = [value.name for value in graph.get_outputs()]
    for step, row in enumerate(ids):
        out = dict(zip(names, graph.run(names, feeds | {"ids": row[None]})))
        worst = max(worst, close(out["logits"][0], case["logits"][step], (case["file"], step)))
        feeds |= {f"{name[0]}0": out[name] for name in names if name in ("h1", "c1")}
    return worst


worst = 0
cases = json.load(open(sys.argv[1]))
for case in cases:
    if "mu" in case:
        graph = session(case["file"])
        letters = {key: np.array(case[key], np.int64) for key in ("ids", "lengths")}
        mu, log_var = graph.run(["mu", "log_var"], letters)
        worst = max(worst, close(mu, case["mu"], case["file"]), close(log_var, case["log_var"], case["file"]))
        continue
    graph = session(case["file"])
    metadata = graph.get_modelmeta().custom_metadata_map
    tokens = json.loads(metadata["tokens"])
    assert tokens == case["tokens"], tokens
    assert json.loads(metadata["textgen"])["network"]["inputs"] == len(tokens)
    assert metadata["usage"]
    extra = {"z": np.array(case["z"], np.float32)} if "z" in case else {}
    worst = max(worst, read(graph, case, extra))
print(f"{len(cases)} graphs agree")
print(f"largest difference {worst:.1e}", file=sys.stderr)
