"""The command `textgen` of the wheel behaves as the program does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import GOLDEN_RUN, REPOSITORY, TEXT, Program, hear_ctrl_c

import textgen

MODEL = str(GOLDEN_RUN / "model.safetensors")
COMMAND = str(Path(sys.executable).parent / "textgen")


def test_exit_codes_and_messages(program: Program) -> None:
    ran = program("--version")
    assert (ran.returncode, ran.stdout) == (0, f"textgen {textgen.__version__}\n")
    ran = program("generate", "--temprature", "1")
    assert ran.returncode == 2 and "'--temprature'" in ran.stderr and "Usage: textgen generate" in ran.stderr
    ran = program("generate", "--run", "nowhere")
    assert ran.returncode == 1 and ran.stderr.startswith("error: no run named nowhere")
    assert "Traceback" not in ran.stderr


def test_it_prints_what_the_program_prints(program: Program) -> None:
    built = Path(os.environ.get("TEXTGEN", ""))
    if not built.is_file():
        pytest.skip("needs TEXTGEN, the path of the program")
    for line in [
        ["generate", "--model-file", MODEL, "--seed", "1", "--length", "50"],
        ["score", "--model-file", MODEL, str(GOLDEN_RUN / "altered.txt"), "--json"],
        ["train", "--help"],
        ["generate", "--hel"],
        ["vocab", str(REPOSITORY / "nowhere.txt")],
    ]:
        own = program(*line)
        other = subprocess.run([built, *line], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert (own.returncode, own.stdout, own.stderr) == (other.returncode, other.stdout, other.stderr)


def test_text_without_a_line_end_is_written(program: Program) -> None:
    ran = program("export", MODEL, "--output", "out.safetensors")
    assert ran.returncode == 0
    ran = program("generate", "--model-file", MODEL, "--length", "0")
    assert ran.returncode == 0


def test_a_closed_pipe_is_no_error() -> None:
    line = f"'{COMMAND}' generate --model-file '{MODEL}' --length 200000 --seed 1 | head -c 10; exit ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert (ran.returncode, len(ran.stdout)) == (0, 10)
    assert ran.stderr == ""


def test_ctrl_c_ends_it_at_once() -> None:
    line = [COMMAND, "generate", "--model-file", MODEL, "--length", "1000000000", "--seed", "1"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=hear_ctrl_c) as ran:
        assert ran.stdout and ran.stderr
        ran.stdout.read(10)
        ran.send_signal(signal.SIGINT)
        _, err = ran.communicate(timeout=10)
        assert ran.returncode == -signal.SIGINT and b"Traceback" not in err


def test_ctrl_c_saves_a_training(tmp_path: Path) -> None:
    (tmp_path / "tales.txt").write_text(TEXT)
    line = "train --model char-lstm tales.txt --name a --steps 100000000 --hidden 16 --batch 4 --seq 16 --eval-every 1000"
    with subprocess.Popen([COMMAND, *line.split()], cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=hear_ctrl_c) as ran:
        assert ran.stderr
        for told in ran.stderr:
            if told.startswith("step "):
                break
        ran.send_signal(signal.SIGINT)
        err = ran.stderr.read()
        assert ran.wait(30) == 130
    assert "everything is saved" in err and "textgen train --resume a" in err
    assert (tmp_path / "runs/a/model.safetensors").exists()


def test_the_module_can_be_run_and_needs_no_numpy_for_it() -> None:
    ran = subprocess.run([sys.executable, "-m", "textgen", "--version"], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, f"textgen {textgen.__version__}\n")
    script = f"import sys, textgen; textgen.load({MODEL!r}).generate(length=5); assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_it_starts_in_no_time() -> None:
    times = []
    for _ in range(3):
        began = time.monotonic()
        subprocess.run([COMMAND, "--version"], check=True, capture_output=True)
        times.append(time.monotonic() - began)
    assert min(times) < 1
