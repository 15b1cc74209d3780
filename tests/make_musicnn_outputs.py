"""Creates tests/files/musicnn_outputs.npz: TensorFlow's outputs for a few patches, with the networks of musicnn 0.1.0.

Outputs are recorded twice: with the published weights, for tests that run only where these are installed, and with seeded random
weights, for the default tests. Run in a separate environment, which the tests do not need:

    python -m venv tf && tf/bin/pip install tensorflow-cpu==2.21.0 tf_keras==2.21.0
    tf/bin/pip download musicnn==0.1.0 --no-deps
    tf/bin/python tests/make_musicnn_outputs.py musicnn-0.1.0-py3-none-any.whl tests/files/musicnn_outputs.npz
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

CHECKPOINTS = ("MTT_musicnn", "MSD_musicnn", "MTT_vgg", "MSD_vgg")
SEEDED = {"seeded_musicnn": "MSD_musicnn", "seeded_vgg": "MSD_vgg"}


def make_patches() -> np.ndarray:
    """Log-mel patches (4, 187, 96) float32 from a seed: uniform noise, sparse noise, slow and broad changes, silence."""
    noise = np.random.default_rng(0).random((3, 187, 96))
    broad = np.repeat(np.repeat(noise[2, ::17, ::12], 17, axis=0), 12, axis=1)[:187]
    return np.stack([4 * noise[0], 4 * noise[1] ** 4, 4 * broad, 0 * broad]).astype(np.float32)


def make_variables(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """Random weights from a seed, by TensorFlow's names, scaled so that outputs neither vanish nor saturate."""
    rng, variables = np.random.default_rng(1), {}
    for name, shape in sorted(shapes.items()):
        values = rng.random(shape) - 0.5
        if name.endswith("kernel"):
            values *= 4 / np.sqrt(np.prod(shape[:-1]))
        elif name.endswith("gamma"):
            values = 2 * values + 0.5  # some negative
        elif name.endswith("variance"):
            values = values + 1
        variables[name] = values.astype(np.float32)
    return variables


def main(wheel: str, output: str) -> None:
    """Build each network with the package's own code, restore or set its weights, and save its outputs."""
    os.environ |= {"TF_USE_LEGACY_KERAS": "1", "TF_ENABLE_ONEDNN_OPTS": "0"}  # without oneDNN: smaller rounding errors
    import tensorflow as tf

    tf1, arrays = tf.compat.v1, {}
    tf1.disable_eager_execution()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
        sys.path.insert(0, folder)
        from musicnn import models

        for name in (*CHECKPOINTS, *SEEDED):
            tf1.reset_default_graph()
            x = tf1.placeholder(tf.float32, [None, 187, 96])
            with tf.name_scope("model"):
                outputs = models.define_model(x, tf1.placeholder_with_default(False, []), SEEDED.get(name, name), 50)
            graph = {"tags": tf.sigmoid(outputs[0])}
            if name.endswith("vgg"):
                graph["pooled"] = outputs[5]
            else:
                graph |= {"embedding": outputs[8], "mean": outputs[6], "max": outputs[7]}
            with tf1.Session() as session:
                if name in SEEDED:
                    variables = {v.op.name: v for v in tf1.global_variables()}
                    shapes = {key: v.shape.as_list() for key, v in variables.items()}
                    for key, value in make_variables(shapes).items():
                        variables[key].load(value, session)
                    arrays[f"{name}/shapes"] = np.array(json.dumps(shapes))
                else:
                    tf1.train.Saver().restore(session, str(Path(folder, "musicnn", name)) + "/")
                values = session.run(graph, {x: make_patches()})
            arrays |= {f"{name}/{layer}": value.reshape(len(value), -1) for layer, value in values.items()}
    np.savez_compressed(output, tensorflow=tf.__version__, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
