"""Seconds until `musicreclass --help` and a list of mistakes are on the terminal, against a bare `import hydra`."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 9
COMMAND = str(Path(sys.executable).with_name("musicreclass"))
MISTAKES = ["train", "model=mpl", "trainer.max_epoch=3", "seed=x", "class_weight=some", "+typo=1"]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        broken = Path(folder) / "experiment" / "broken.yaml"
        broken.parent.mkdir()
        broken.write_text("seed: [1\n")
        commands = {
            "import hydra": [sys.executable, "-c", "import hydra"],
            "musicreclass --help": [COMMAND, "--help"],
            "musicreclass train --help": [COMMAND, "train", "--help"],
            "five mistakes in overrides": [COMMAND, *MISTAKES],
            "a mistake in YAML": [COMMAND, "train", "--config-dir", folder, "experiment=broken"],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                start = time.perf_counter()
                subprocess.run(command, capture_output=True, check=False)
                seconds[name].append(time.perf_counter() - start)
    print(f"Start-up, medians of {ROUNDS} rounds")
    base = seconds["import hydra"]
    for name, took in seconds.items():
        ratio = statistics.median(t / b for t, b in zip(took, base, strict=True))
        print(f"  {name:<46}{statistics.median(took):7.3f} s   {ratio:5.2f} x import hydra")


if __name__ == "__main__":
    main()
