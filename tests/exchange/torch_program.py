"""Runs the programs of `textgen export --format torch`, and compares: torch_program.py CASES.json."""

import importlib.util
import json
import sys

import torch


def load(path):
    spec = importlib.util.spec_from_file_location("program", path)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    return program


def close(found, wanted, what):
    difference = (found - torch.tensor(wanted)).abs().max().item()
    assert difference <= 1e-5, (what, difference)


torch.set_num_threads(1)
cases = json.load(open(sys.argv[1]))
for case in cases:
    program = load(case["file"])
    if "greedy" in case:
        writer = program.Writer()
        with torch.inference_mode():
            logits, _ = writer.net(torch.tensor(case["ids"]))
        close(logits, case["logits"], case["file"])
        written = writer.generate(case["prompt"], case["length"], temperature=0)
        assert written == case["greedy"], (case["file"], written, case["greedy"])
        assert len(writer.generate(case["prompt"], 20, temperature=0.8, seed=1)) > 0
    else:
        model = program.WordVae()
        z = torch.tensor(case["z"])
        with torch.inference_mode():
            logits, _ = model.decoder(torch.tensor(case["ids"]), z, model.decoder.start(z))
        close(logits, case["logits"], case["file"])
        words = [model.decode(row[None]) for row in z]
        if case["mu"]:  # there is a z
            assert words == case["words"], (case["file"], words, case["words"])
            close(model.encode(case["word"])[0], case["mu"], case["file"])
print(f"{len(cases)} programs agree")
