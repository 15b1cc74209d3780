"""The wording of messages, in one snapshot file: tests elsewhere check kinds and keys, and no sentence.

After a change of wording, UPDATE_SNAPSHOT=1 writes the file anew; read its diff.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.config.test_check import BAD

SNAPSHOT = Path(__file__).parents[1] / "files" / "messages.txt"
MORE = [
    ["augmentation=full"],
    ["early_stopping=default"],
    ["data=demo", "model=cnn"],
    ["data=demo_audio", "model=mlp"],
    ["data=demo_audio", "features=openjmla", "data.sampler=balanced"],
    ["features=openjmla"],
    ["model=xgboost", "hardware.devices=2"],
    ["-m", "run_dir=x"],
    ["-m", "hardware.devices=1,2"],
    ["-m", "experiment=demo", "optimizer.lr=0.1,0.01"],
    ["model=openjmla", "data=demo_audio", "model.checkpoint=nowhere.pth"],
    ["data=table", "data.path=nowhere.csv"],
    ["--multi-run"],
    ["--config-dir", "nowhere"],
]


def test_messages_match_the_snapshot(run):
    blocks = []
    for arguments in [[override] for override in BAD] + MORE:
        result = run("train", *arguments)
        blocks.append("\n".join([f"$ musicreclass train {' '.join(arguments)}", *result.lines]))
    text = "\n\n".join(blocks) + "\n"
    if os.environ.get("UPDATE_SNAPSHOT"):
        SNAPSHOT.write_text(text, encoding="utf-8")
    assert text == SNAPSHOT.read_text(encoding="utf-8")
