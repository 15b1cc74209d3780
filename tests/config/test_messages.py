"""The wording of messages, in one snapshot file: tests elsewhere check kinds and keys, and no sentence.

After a change of wording, UPDATE_SNAPSHOT=1 writes the file anew; read its diff.
"""

from __future__ import annotations

import os

from tests.config.test_check import BAD, SNAPSHOT, snapshot, title

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
    """Those of BAD are compared in tests/config/test_check.py, where their kinds are."""
    updates = bool(os.environ.get("UPDATE_SNAPSHOT"))
    singles = [[override] for override in BAD]
    texts = {title(arguments): run("train", *arguments).lines for arguments in (singles if updates else []) + MORE}
    if updates:
        SNAPSHOT.write_text(
            "\n\n".join("\n".join([name, *lines]) for name, lines in texts.items()) + "\n", encoding="utf-8"
        )
    stored = snapshot()
    assert list(stored) == [title(arguments) for arguments in singles + MORE]
    assert texts == {name: stored[name] for name in texts}
