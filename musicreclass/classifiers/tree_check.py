"""Checks models that were read from a file, where a library would follow any number in them out of its memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from musicreclass.plurals import counted

SIZES = {"i": ">i1", "U": ">u1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}  # UBJSON's numbers
FORESTS = (
    "RandomForestClassifier",
    "ExtraTreesClassifier",
    "GradientBoostingClassifier",
)  # pass their features to all trees
LEAF = -1  # in place of a leaf's children
MAX_DEPTH = 32  # of nested containers; XGBoost needs 7


def check_xgboost(file: Path, features: int, classes: int, is_multi: bool = False) -> None:
    """Check a model in XGBoost's UBJSON format.

    Args:
        file: that `Booster.save_model` wrote.
        features: number of features that it will be called with.
        classes: number of classes; two share one tree per round.
        is_multi: whether the classes are tags, with a tree for each.

    Raises:
        ValueError: if the file is no forest of trees for these features and classes.
    """
    reader = _UBJSON(file.read_bytes())
    learner = reader.document()["learner"]
    outputs = classes if classes > 2 or is_multi else 1
    targets = outputs if is_multi else 1
    parameters, booster = learner["learner_model_param"], learner["gradient_booster"]
    if booster["name"] == "dart":
        dropped, booster = booster["weight_drop"], booster["gbtree"]
        if len(dropped) != len(booster["model"]["trees"]):
            raise ValueError("weight_drop needs one value for each tree")
    if booster["name"] != "gbtree" or int(parameters["num_target"]) != targets:
        raise ValueError(f"not a forest of decision trees for {counted(targets, 'target')}")
    if int(parameters["num_feature"]) != features or max(1, int(parameters["num_class"])) != outputs // targets:
        raise ValueError(f"not for {counted(features, 'feature')} and {counted(classes, 'class')}")
    if len(np.atleast_1d(json.loads(parameters["base_score"]))) not in (1, outputs):
        raise ValueError(f"base_score has more or fewer than {outputs} values")
    model = booster["model"]
    trees, rounds, tree_info = model["trees"], np.asarray(model["iteration_indptr"]), np.asarray(model["tree_info"])
    sizes = model["gbtree_model_param"]
    if int(sizes["num_trees"]) != len(trees) or len(tree_info) != len(trees):
        raise ValueError("the number of trees is wrong")
    _check_range("tree_info", tree_info, 0, outputs)
    if rounds[:1].tolist() != [0] or rounds[-1:].tolist() != [len(trees)] or (np.diff(rounds) < 0).any():
        raise ValueError("iteration_indptr does not divide the trees into rounds")
    if [tree["id"] for tree in trees] != list(range(len(trees))):
        raise ValueError("the trees are not numbered in their order")
    for tree in trees:
        _check_xgboost_tree(tree, features)


def _check_xgboost_tree(tree: dict[str, Any], features: int) -> None:
    n = len(tree["left_children"])
    if int(tree["tree_param"]["num_nodes"]) != n or int(tree["tree_param"]["num_feature"]) != features:
        raise ValueError("the size of a tree is wrong")
    if int(tree["tree_param"]["size_leaf_vector"]) > 1 or any(len(tree[name]) for name in tree if "categories" in name):
        raise ValueError("vector leaves and categorical splits are not supported")
    per_node = ("right_children", "parents", "split_indices", "split_conditions", "split_type", "default_left")
    for name in (*per_node, "base_weights", "loss_changes", "sum_hessian"):
        if len(tree[name]) != n:
            raise ValueError(f"{name} has {counted(len(tree[name]), 'value')} for {counted(n, 'node')}")
    left, right, feature, parents = (
        np.asarray(tree[name]) for name in ("left_children", "right_children", "split_indices", "parents")
    )
    _check_nodes(left, right, feature, features)
    inner = np.flatnonzero(left != LEAF)
    if (parents[left[inner]] != inner).any() or (parents[right[inner]] != inner).any():
        raise ValueError("the parents of a tree do not match its children")
    if np.asarray(tree["split_type"]).any():
        raise ValueError("categorical splits are not supported")


def check_estimator(estimator: Any) -> None:
    """Check the trees and support vectors of a scikit-learn estimator, and of those inside it.

    Raises:
        ValueError: if their numbers do not fit together.
    """
    for part in _parts(estimator, set()):
        features = getattr(part, "n_features_in_", None)
        if hasattr(part, "tree_"):
            nodes = part.tree_.__getstate__()["nodes"]
            if part.tree_.n_features != features:
                raise ValueError("the number of features of a tree is wrong")
            _check_nodes(nodes["left_child"], nodes["right_child"], nodes["feature"], part.tree_.n_features)
        if type(part).__name__ in FORESTS:
            trees = np.ravel(part.estimators_)
            if any(tree.n_features_in_ != features for tree in trees):
                raise ValueError("the trees of a forest have other features than the forest")
        if hasattr(part, "_n_support"):
            _check_support_vectors(part)


def _check_support_vectors(machine: Any) -> None:
    """Check the arrays that libsvm reads without looking at their sizes."""
    vectors, counts = machine.support_vectors_, machine._n_support
    classes = max(2, len(getattr(machine, "classes_", ())))
    pairs = classes * (classes - 1) // 2
    sizes = {
        "_dual_coef_": (classes - 1, len(vectors)), "support_": (len(vectors),), "_n_support": (classes,),
        "support_vectors_": (len(vectors), machine.n_features_in_), "_intercept_": (pairs,),
    }  # fmt: skip
    wrong = [name for name, shape in sizes.items() if np.shape(getattr(machine, name)) != shape]
    wrong += [name for name in ("_probA", "_probB") if np.shape(getattr(machine, name)) not in ((0,), (pairs,))]
    if wrong or machine._sparse or counts.min() < 0 or counts.sum() != len(vectors):
        raise ValueError(f"the support vectors do not fit together ({', '.join(wrong) or '_n_support'})")


def _parts(value: Any, visited: set[int]) -> Iterator[Any]:
    """An object, and those that can be reached from it through attributes, lists and dictionaries."""
    if isinstance(value, (str, bytes, int, float, type(None))) or id(value) in visited:
        return
    visited.add(id(value))
    items: Iterable[Any] = ()
    if isinstance(value, dict):
        items = value.values()
    elif isinstance(value, np.ndarray):
        items = value.ravel() if value.dtype == object else ()
    elif isinstance(value, (list, tuple, set)):
        items = value
    else:
        yield value
        items = getattr(value, "__dict__", {}).values()
    for item in items:
        yield from _parts(item, visited)


def _check_nodes(left: np.ndarray, right: np.ndarray, feature: np.ndarray, features: int) -> None:
    """Check that nodes form a tree: every node but the root, which is the first, is the child of one node.

    Args:
        left, right: the children of each node, int (n,); -1 at both for a leaf.
        feature: that each node splits by, int (n,); of leaves it is not read.
        features: number of features.
    """
    n, inner = len(left), left != LEAF
    if n == 0 or (inner != (right != LEAF)).any():
        raise ValueError("a node of a tree has one child")
    children = np.concatenate([left[inner], right[inner]])
    _check_range("children", children, 1, n)
    if len(np.unique(children)) != len(children):
        raise ValueError("a node of a tree has two parents")
    _check_range("features", feature[inner], 0, features)


def _check_range(name: str, values: np.ndarray, low: int, high: int) -> None:
    if len(values) and not (values.dtype.kind in "iu" and values.min() >= low and values.max() < high):
        raise ValueError(f"the {name} of a tree are out of range")


class _UBJSON:
    """Reads Universal Binary JSON (ubjson.org, draft 12); typed arrays become NumPy arrays."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def document(self) -> dict[str, Any]:
        value = self._value(self._marker(), 0)
        if self.at != len(self.data) or not isinstance(value, dict):
            raise ValueError("not one UBJSON object")
        return value

    def _take(self, n: int) -> bytes:
        if n < 0 or self.at + n > len(self.data):
            raise ValueError("the file is truncated")
        self.at += n
        return self.data[self.at - n : self.at]

    def _marker(self) -> str:
        return self._take(1).decode("latin-1")

    def _peek(self, marker: bytes) -> bool:
        is_next = self.data[self.at : self.at + 1] == marker
        self.at += is_next
        return is_next

    def _number(self, marker: str) -> Any:
        if marker not in SIZES:
            raise ValueError(f"{marker!r} is not a number")
        return np.frombuffer(self._take(int(SIZES[marker][2:])), SIZES[marker])[0].item()

    def _text(self) -> str:
        return self._take(self._length()).decode("utf-8")

    def _length(self) -> int:
        length = self._number(self._marker())
        if not isinstance(length, int) or not 0 <= length <= len(self.data):
            raise ValueError("a length is out of range")
        return length

    def _value(self, marker: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise ValueError("too deeply nested")
        if marker in SIZES:
            return self._number(marker)
        if marker in "ZTF":
            return {"Z": None, "T": True, "F": False}[marker]
        if marker == "S":
            return self._text()
        if marker == "[":
            return self._array(depth)
        if marker == "{":
            return self._object(depth)
        raise ValueError(f"{marker!r} is not supported")

    def _array(self, depth: int) -> Any:
        kind = self._marker() if self._peek(b"$") else None
        n = self._length() if self._peek(b"#") else None
        if kind is not None:
            if n is None or kind not in SIZES:
                raise ValueError("a typed array of no numbers, or of unknown length")
            return np.frombuffer(self._take(n * int(SIZES[kind][2:])), SIZES[kind])
        values: list[Any] = []
        while len(values) < n if n is not None else not self._peek(b"]"):
            values.append(self._value(self._marker(), depth + 1))
        return values

    def _object(self, depth: int) -> dict[str, Any]:
        if self._peek(b"$") or self._peek(b"#"):
            raise ValueError("objects of stated length are not supported")
        fields: dict[str, Any] = {}
        while not self._peek(b"}"):
            name = self._text()
            if name in fields:  # libraries differ in which one counts
                raise ValueError(f"{name} is repeated")
            fields[name] = self._value(self._marker(), depth + 1)
        return fields
