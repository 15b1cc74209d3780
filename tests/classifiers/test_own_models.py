"""Users' models: they train, and their mistakes are reported."""

from __future__ import annotations

import random

import numpy as np
import pandas as pd
import pytest

from musicreclass.errors import notices
from musicreclass.runs.folder import Run
from musicreclass.runs.syntax import read_module
from tests.conftest import make_frame, only_run, table_overrides


def test_a_users_experiment_and_network_train(run, here):
    make_frame().to_csv("t.csv", index=False)
    for folder in ("model", "experiment"):
        (here / "my_conf" / folder).mkdir(parents=True)
    (here / "my_conf" / "model" / "mine.yaml").write_text("_target_: my_network_1.Mine\ninput: table\nwidth: 12\n")
    (here / "my_conf" / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /data: table\n  - override /model: mine\n"
        "data:\n  path: t.csv\ntrainer:\n  max_epochs: 1\nmodel:\n  width: 7\n"
    )
    (here / "my_network_1.py").write_text(
        "from torch import nn\n\n\nclass Mine(nn.Sequential):\n"
        "    def __init__(self, in_features, num_classes, width):\n"
        "        super().__init__(nn.Linear(in_features, width), nn.Tanh(), nn.Linear(width, num_classes))\n"
    )
    result = run("train", "--config-dir", "my_conf", "experiment=mine")
    assert result.code == 0, result.err
    done = Run.open(only_run(here))
    assert done.folder.name.startswith("table-mine-s0-")
    from musicreclass.errors import RunError

    with pytest.raises(RunError) as caught:
        done.classifier()
    assert (caught.value.kind, caught.value.problems[0].suggestion) == ("untrusted_module", "my_network_1")
    assert done.classifier(trust=("my_network_1",)).card.arguments == {"width": 7}

    rejected = run("train", "--config-dir", "my_conf", "experiment=mine", "+model.depth=3")
    assert (rejected.code, len(rejected.lines)) == (2, 1)
    assert rejected.problems[0].suggestion == "model.width"
    (here / "my_conf" / "model" / "mine.yaml").write_text(
        "_target_: my_network_1.Mine\ninput: table\nwidth: 12\nheight: 1\n"
    )
    rejected = run("train", "--config-dir", "my_conf", "experiment=mine")
    assert rejected.code == 2
    assert "height" in rejected.lines[0]
    (here / "my_conf" / "model" / "mine.yaml").write_text("_target_: my_network_1.Missing\ninput: table\nwidth: 1\n")
    rejected = run("train", "--config-dir", "my_conf", "experiment=mine")
    assert rejected.code == 2
    (problem,) = rejected.problems
    assert (problem.kind, problem.value) == ("import_failed", "my_network_1.Missing")


OWN = """
import random
import sys

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from torch import nn, tensor


class Nearest(ClassifierMixin, BaseEstimator):
    def fit(self, x, y):
        self.classes_ = np.unique(y)
        self.means_ = np.stack([x[y == k].mean(0) for k in self.classes_])
        return self

    def predict_proba(self, x):
        p = np.exp(-np.square(x[:, None] - self.means_).mean(2))
        return p / p.sum(1, keepdims=True)


class Reversed(Nearest):
    def fit(self, x, y):
        super().fit(x, y)
        self.classes_, self.means_ = self.classes_[::-1], self.means_[::-1]
        return self


class Rolling(Nearest):
    def fit(self, x, y):
        super().fit(x + random.random(), y)
        self.means_ = self.means_ + np.random.normal(size=self.means_.shape)
        return self


class Drawn(nn.Linear):
    def __init__(self, in_features, num_classes):
        super().__init__(in_features, num_classes)
        self.weight.data = tensor(np.random.normal(size=(num_classes, in_features)) + random.random()).float()


def spoilt(change):
    class Spoilt(Nearest):
        def predict_proba(self, x):
            return change(super().predict_proba(x))

    return Spoilt


TooFew = spoilt(lambda p: p[:, :2])
TooMany = spoilt(lambda p: np.c_[p, p])
Flat = spoilt(lambda p: p[:, 0])
RowsMissing = spoilt(lambda p: p[1:])
Negative = spoilt(lambda p: p + [[-1, 0.5, 0.5]])
Unsummed = spoilt(lambda p: 2 * p)
NoNumbers = spoilt(lambda p: p * np.nan)


class Leaving(Nearest):
    def fit(self, x, y):
        sys.exit(0)

"""


@pytest.fixture
def train_own(run, table, here):
    """Trains a user's model from a module in the working directory."""
    (here / "own_models_1.py").write_text(OWN)
    (here / "mine" / "model").mkdir(parents=True)
    (here / "mine" / "model" / "own.yaml").write_text("_target_: own_models_1.Nearest\ninput: table\n")

    def train(name: str, *overrides: str):
        target = f"model._target_=own_models_1.{name}"
        return run("train", "--config-dir", "mine", *table_overrides(table), "model=own", target, *overrides)

    return train


def test_an_edited_model_makes_its_runs_stale(train_own, here):
    assert train_own("Nearest", "run_dir=r").code == 0
    assert not Run.open(here / "r").is_stale
    with (here / "own_models_1.py").open("a") as file:
        file.write("\nCHANGED = 1\n")
    read_module.cache_clear()  # a new process has read nothing
    again = train_own("Nearest", "run_dir=r")
    assert again.code == 0
    assert len(again.lines) == 1
    assert "force=true" in again.err  # the remedy
    assert Run.open(here / "r").is_stale


def test_an_estimator_may_order_its_classes_differently(train_own, here):
    tables = []
    for name in ("Nearest", "Reversed"):
        assert train_own(name, f"run_dir={name}").code == 0
        tables.append(Run.open(here / name).predictions("valid").table)
    pd.testing.assert_frame_equal(*tables)
    assert Run.open(here / "Reversed").metrics["valid"]["accuracy"] > 0.6


@pytest.mark.parametrize(
    ("name", "error", "named"),
    [
        ("TooFew", "ValueError", ["own_models_1.TooFew", "2 probabilities", "3 classes"]),
        ("TooMany", "ValueError", ["own_models_1.TooMany", "6 probabilities", "3 classes"]),
        ("Flat", "ValueError", ["own_models_1.Flat", "()", "3 classes"]),
        ("RowsMissing", "ValueError", ["(17, 3)", "18"]),
        ("Negative", "ValueError", ["negative"]),
        ("Unsummed", "ValueError", ["sum to 1"]),
        ("NoNumbers", "FloatingPointError", ["finite"]),
    ],
)
def test_invalid_probabilities_are_a_failed_run(name, error, named, train_own, here):
    result = train_own(name)
    assert result.code == 1
    assert len(result.lines) == 1, result.err
    assert result.lines[0].startswith(f"{error}: ")
    assert all(name in result.lines[0] for name in named)
    failed = Run.open(only_run(here))
    assert failed.state == "failed"
    assert failed.metrics == {}


def test_an_estimator_that_ends_the_process_is_a_failed_run(train_own, here):
    result = train_own("Leaving")
    assert result.code == 1
    assert len(result.lines) == 1, result.err
    assert "SystemExit" in result.lines[0]
    assert Run.open(only_run(here)).state == "failed"


def test_a_module_that_ends_the_process_is_reported(run, table, here):
    (here / "own_models_2.py").write_text("import sys\n\nsys.exit(0)\n")
    (here / "mine" / "model").mkdir(parents=True)
    (here / "mine" / "model" / "own.yaml").write_text("_target_: own_models_2.Leaving\ninput: table\n")
    command = ["train", "--config-dir", "mine", *table_overrides(table), "model=own"]
    for added in ([], ["+model.depth=3"]):
        result = run(*command, *added)
        assert (result.code, len(result.lines)) == (2, 1)
        (problem,) = result.problems
        assert (problem.kind, problem.key, problem.value) == ("import_failed", "model._target_", "own_models_2.Leaving")
    result = run(*command, "-m", "seed=1,2")
    assert result.code == 1
    assert "job 1 failed" in result.out


@pytest.mark.parametrize("name", ["Rolling", pytest.param("Drawn", marks=pytest.mark.slow)])
def test_a_model_that_draws_from_the_global_random_states_is_reproducible(name, train_own, here):
    probabilities = []
    for folder, seed in (("one", 0), ("two", 0), ("three", 1)):
        random.seed()
        np.random.seed()  # noqa: NPY002
        assert train_own(name, f"run_dir={folder}", f"seed={seed}").code == 0
        probabilities.append(Run.open(here / folder).predictions("valid").probabilities())
    assert np.array_equal(probabilities[0], probabilities[1])
    assert not np.allclose(probabilities[0], probabilities[2])


NETWORKS = """
from sklearn.linear_model import LogisticRegression
from torch import nn


class Typed(nn.Linear):
    def __init__(self, in_features, num_classes, width: int = 3):
        super().__init__(in_features, num_classes)


class Softmax(nn.Linear):
    def __init__(self, in_features, num_classes):
        super().__init__(in_features, num_classes)

    def forward(self, x):
        return super().forward(x).softmax(1)


class Wide(nn.Linear):
    def __init__(self, in_features, num_classes):
        super().__init__(in_features, 7)


class Fixed(nn.Linear):
    def __init__(self, in_features, num_classes):
        super().__init__(518, num_classes)


class Spectrogram(nn.Module):
    def __init__(self, num_classes):
        super().__init__()

    def forward(self, x):
        assert x.ndim == 4
        return x.mean((2, 3))


class Sized(nn.Linear):
    def __init__(self, in_features, num_classes, width):
        super().__init__(in_features, num_classes)


class Sizeless(nn.Linear):
    def __init__(self, num_classes):
        super().__init__(6, num_classes)


class Faulty(nn.Linear):
    def __init__(self, in_features, num_classes):
        super().__init__(in_features, num_classes)

    def forward(self, x):
        return self.nett(x)


class Detached(Faulty):
    def forward(self, x):
        return nn.Linear.forward(self, x).detach()


class Frozen(Faulty):
    def __init__(self, in_features, num_classes):
        super().__init__(in_features, num_classes)
        self.requires_grad_(False)

    forward = nn.Linear.forward


class InPlace(Faulty):
    def forward(self, x):
        y = nn.Linear.forward(self, x).exp()
        y += 1
        return y


class Flat(nn.Linear):
    def __init__(self, num_classes):
        super().__init__(100, num_classes)

    def forward(self, x):
        return super().forward(x.flatten(1))


class Pooled(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.head = nn.Linear(1, num_classes)

    def forward(self, x):
        return self.head(nn.functional.max_pool2d(x, (1, 50)).mean((2, 3)))
"""
OWN_YAML = "_target_: own_models_3.{}\ninput: table\n"


@pytest.fixture
def train_network(run, table, here):
    """Trains a network of `NETWORKS` on the table, from the text of its YAML file."""
    (here / "own_models_3.py").write_text(NETWORKS)
    (here / "mine" / "model").mkdir(parents=True)

    def train(text: str, *overrides: str):
        (here / "mine" / "model" / "own.yaml").write_text(text)
        short = [*table_overrides(table), "trainer.max_epochs=1"]
        return run("train", "--config-dir", "mine", *short, "model=own", *overrides)

    return train


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (OWN_YAML.format("Sized") + "widht: 4\n", ("unknown_key", "model.widht", "model.width")),
        (OWN_YAML.format("Sized"), ("missing_value", "model.width", "+model.width=VALUE")),
        (OWN_YAML.format("Sized") + "width: 4\nin_features: 9\n", ("fixed_key", "model.in_features", "")),
        (OWN_YAML.format("Sizeless"), ("invalid_arguments", "model.in_features", "")),
        ("_target_: sklearn.svm.LinearSVC\ninput: table\n", ("invalid_target", "model._target_", "")),
        (
            "_target_: sklearn.svm.SVC\ninput: table\n",
            ("missing_value", "model.probability", "+model.probability=true"),
        ),
        (
            "_target_: sklearn.neighbors.KNeighborsClassifier\ninput: table\nn_neighbours: 4\n",
            ("unknown_key", "model.n_neighbours", "model.n_neighbors"),
        ),
        ("_target_: no_such_module_1.Tiny\ninput: table\n", ("import_failed", "model._target_", "")),
    ],
)
def test_arguments_are_checked_against_the_signature(train_network, text, problem):
    result = train_network(text)
    assert (result.code, [(p.kind, p.key, p.suggestion) for p in result.problems]) == (2, [problem])


def test_a_module_that_is_not_found_names_the_working_directory(train_network, here):
    (problem,) = train_network(OWN_YAML.replace("own_models_3", "no_such_module_1").format("Tiny")).problems
    assert str(here) in problem.message


@pytest.mark.parametrize(
    ("name", "kind"), [("Detached", "no_gradient"), ("Frozen", "no_gradient"), ("InPlace", "failed_backward")]
)
def test_a_network_that_cannot_be_trained_is_reported_before_training(train_network, here, name, kind):
    result = train_network(OWN_YAML.format(name))
    assert (result.code, [(p.kind, p.key) for p in result.problems]) == (2, [(kind, "model")])
    assert name in result.problems[0].message
    assert not list((here / "outputs").glob("*/status.json"))


def test_probabilities_in_place_of_logits_are_noticed(train_network, caplog):
    assert train_network(OWN_YAML.format("Softmax")).code == 0
    (notice,) = [record for record in caplog.records if record.name == notices.name]
    assert "own_models_3.Softmax" in notice.getMessage()


def test_an_error_in_a_network_names_its_class_and_line(train_network):
    (problem,) = train_network(OWN_YAML.format("Faulty")).problems
    line = NETWORKS[: NETWORKS.index("return self.nett")].count("\n") + 1
    assert problem.kind == "wrong_input"
    assert "own_models_3.Faulty" in problem.message
    assert f"own_models_3.py:{line}" in problem.message


@pytest.mark.parametrize(
    ("options", "expected", "named"),
    [
        (["model._target_=own_models_3.Typed", "+model.width=3.5"], ("invalid_value", "model.width"), "3.5"),
        (["model._target_=own_models_3.Tiped"], ("import_failed", "model._target_"), "Typed"),
        (["model._target_=own_models_3.Wide"], ("wrong_output", "model"), "(2, 7)"),
        (["model._target_=own_models_3.Fixed"], ("wrong_input", "model"), "6 features"),
    ],
)
def test_a_network_that_does_not_fit_the_table_is_reported_before_training(run, table, here, options, expected, named):
    (here / "own_models_3.py").write_text(NETWORKS)
    (here / "mine" / "model").mkdir(parents=True)
    (here / "mine" / "model" / "own.yaml").write_text("_target_: own_models_3.Typed\ninput: table\n")
    result = run("train", "--config-dir", "mine", *table_overrides(table), "model=own", *options)
    assert (result.code, len(result.lines)) == (2, 1), result.err
    (problem,) = result.problems
    assert (problem.kind, problem.key) == expected
    assert named in problem.message
    assert not list((here / "outputs").glob("*/status.json"))


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("own_models_3.Spectrogram", ("wrong_input", "model.frontend")),
        ("own_models_3.Sized", ("missing_value", "model.in_features")),
        ("own_models_3.LogisticRegression", ("input_mismatch", "model.input")),
        ("sklearn.linear_model.LogisticRegression", ("input_mismatch", "model.input")),
    ],
)
def test_a_model_that_does_not_read_waveforms_is_reported_before_training(run, library, here, target, expected):
    (here / "own_models_3.py").write_text(NETWORKS)
    (here / "mine" / "model").mkdir(parents=True)
    (here / "mine" / "model" / "own.yaml").write_text(
        f"_target_: {target}\ninput: waveform\nsample_rate: 16000\nclip_seconds: 1.0\n"
    )
    result = run("train", "--config-dir", "mine", "data=folder", f"data.root={library}", "model=own")
    assert (result.code, [(p.kind, p.key) for p in result.problems]) == (2, [expected]), result.err
    assert not list((here / "outputs").glob("*/status.json"))


@pytest.mark.parametrize(
    ("name", "problem", "shape"),
    [
        ("Flat", ("wrong_input", "model"), "(1, 1, 64, 32)"),
        ("Pooled", ("clip_length", "data.clip_seconds"), "(1, 1, 64, 32)"),
    ],
)
def test_a_network_that_rejects_spectrograms_is_reported_with_their_shape(run, library, here, name, problem, shape):
    (here / "own_models_3.py").write_text(NETWORKS)
    (here / "mine" / "model").mkdir(parents=True)
    (here / "mine" / "model" / "own.yaml").write_text(
        f"_target_: own_models_3.{name}\ninput: waveform\nsample_rate: 16000\nclip_seconds: 1.0\n"
        "frontend: {n_fft: 1024, hop_length: 512, n_mels: 64, f_min: 0.0, f_max: null}\n"
    )
    result = run("train", "--config-dir", "mine", "data=folder", f"data.root={library}", "model=own")
    assert (result.code, [(p.kind, p.key) for p in result.problems]) == (2, [problem]), result.err
    assert shape in result.problems[0].message


def test_trying_a_network_changes_neither_its_modes_nor_the_random_state():
    import torch
    from torch import nn

    from musicreclass.classifiers.model_folder import ModelCard
    from musicreclass.classifiers.network_trial import try_network

    network = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5).eval(), nn.Dropout(), nn.Linear(5, 3))
    before = (
        torch.get_rng_state(),
        [module.training for module in network.modules()],
        network.state_dict()["1.running_mean"],
    )
    try_network(network, ModelCard("network", "x.Y", {}, "table", ["a", "b", "c"], ["f"] * 4))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert [module.training for module in network.modules()] == before[1]
    assert torch.equal(network.state_dict()["1.running_mean"], before[2])
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_partly_frozen_network_is_accepted():
    from torch import nn

    from musicreclass.classifiers.model_folder import ModelCard
    from musicreclass.classifiers.network_trial import try_network

    network = nn.Sequential(nn.Identity(), nn.Linear(4, 5).requires_grad_(False), nn.Linear(5, 3))
    try_network(network, ModelCard("network", "x.Y", {}, "table", ["a", "b", "c"], ["f"] * 4))
    assert [parameter.requires_grad for parameter in network.parameters()] == [False, False, True, True]
