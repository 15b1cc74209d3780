"""Combining the class probabilities of several models: averages, Caruana's greedy selection, and stacking.

What is fitted is fitted on validation predictions; `cross_fit` scores it on tracks that the fit did not see.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from musicreclass.evaluation.probabilities import check_stack, softmax
from musicreclass.evaluation.ranking import Rankings
from musicreclass.evaluation.resampling import Clusters
from musicreclass.plurals import counted

METHODS = ("mean", "weighted", "greedy", "stacking")
BEST = "best"  # a single member; what ensembles are compared with
FORMAT = 1  # of ensemble.json
FOLDS = 10
FLOOR = 1e-6  # of a probability, before its logarithm
PRIOR_TRACKS = 10.0  # that the prior of equal weights counts as, in `weighted`
PRIOR_PRECISION = 10.0  # of the stacker's coefficients, around the geometric mean
GREEDY_STEPS = 20
EM_STEPS = 200
MAX_MEMBERS = 1000
MAX_COEFFICIENT = 1e6


@dataclass(frozen=True)
class Combination:
    """How the probabilities of some members become those of their ensemble.

    Attributes:
        method: one of `METHODS`.
        members: a name for each.
        classes: the names of the columns, which every member has in this order.
        weights: of each member; non-negative with sum 1, except for stacking, where they multiply log-probabilities.
        bias: added to the log-probability of each class by stacking; otherwise empty.
        is_multi: whether the classes are tags, whose probabilities do not sum to 1.
    """

    method: str
    members: list[str]
    classes: list[str]
    weights: list[float]
    bias: list[float]
    is_multi: bool = False

    @classmethod
    def fit(
        cls, method: str, members: list[str], classes: list[str], stack: np.ndarray, y_true: np.ndarray
    ) -> Combination:
        """Fit a method on labelled tracks.

        Args:
            method, members, classes: as in the attributes.
            stack: probabilities of the members, (m, n, C).
            y_true: class numbers (n,), or indicators of tags (n, C).
        """
        weights, bias = fit_weights(method, stack, y_true)
        return cls(method, members, classes, weights.tolist(), bias.tolist(), y_true.ndim == 2)

    def combine(self, stack: np.ndarray) -> np.ndarray:
        """The probabilities of the ensemble, (n, C) float64; rows sum to 1, except those of tags.

        Args:
            stack: probabilities of the members in their order, (m, n, C).

        Raises:
            ValueError: for another number of members or classes.
        """
        check_stack(stack, len(self.members), len(self.classes))
        return combine(stack, np.array(self.weights), np.array(self.bias), self.is_multi)

    def as_json(self) -> dict[str, Any]:
        """The content of ensemble.json."""
        content = asdict(self)
        if not self.is_multi:  # as written by earlier versions
            del content["is_multi"]
        return {"format": FORMAT, **content}

    @classmethod
    def from_json(cls, content: Any) -> Combination:
        """Read what `as_json` returned.

        Raises:
            ValueError: if it is not of this format, or inconsistent.
        """
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"not an ensemble of format {FORMAT}")
        method = content.get("method")
        if method not in METHODS:
            raise ValueError(f"method: must be one of {', '.join(METHODS)}")
        members, classes = (checked_names(content.get(name), name) for name in ("members", "classes"))
        if len(members) > MAX_MEMBERS or len(set(classes)) < len(classes):
            raise ValueError(f"more than {MAX_MEMBERS} members, or a class is named twice")
        stacked, is_multi = method == "stacking", content.get("is_multi", False)
        if not isinstance(is_multi, bool) or (stacked and is_multi):
            raise ValueError("is_multi: must be true or false, and false for stacking")
        weights = checked_numbers(content.get("weights"), "weights", len(members))
        bias = checked_numbers(content.get("bias"), "bias", len(classes) if stacked else 0)
        if not stacked and (min(weights) < 0 or abs(sum(weights) - 1) > 1e-6):
            raise ValueError("weights: must be non-negative and sum to 1")
        return cls(method, members, classes, weights, bias, is_multi)


def checked_names(texts: Any, name: str) -> list[str]:
    """A list of texts that is not empty.

    Raises:
        ValueError: if it is anything else.
    """
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{name}: must be a list of names")
    return texts


def checked_numbers(values: Any, name: str, count: int) -> list[float]:
    """A list of finite numbers.

    Raises:
        ValueError: if it is anything else.
    """
    is_list = isinstance(values, list) and len(values) == count
    if not is_list or not all(type(v) in (int, float) and abs(v) <= MAX_COEFFICIENT for v in values):
        raise ValueError(f"{name}: must be {counted(count, 'number')}")
    return [float(value) for value in values]


def only_member(record: Any) -> str:
    """The name of the member that has all weight of a weighted or greedy ensemble; empty if several have some.

    Args:
        record: the `ensemble` section of metrics.json, or None.
    """
    if not isinstance(record, dict) or record.get("method") not in ("weighted", "greedy"):
        return ""
    names = [str(member["name"]) for member in record["members"] if member["weight"] > 0]
    return names[0] if len(names) == 1 else ""


def combine(stack: np.ndarray, weights: np.ndarray, bias: np.ndarray, is_multi: bool = False) -> np.ndarray:
    """Probabilities (n, C) from those of the members (m, n, C): a weighted mean, or with a bias (C,) the stacker's softmax.

    Rows sum to 1 unless the classes are tags.
    """
    if bias.size:
        return softmax(np.tensordot(weights, log_probability(stack), 1) + bias)
    mean = np.tensordot(weights, stack, 1).clip(0)
    if is_multi:
        return mean.clip(max=1)
    return mean / mean.sum(axis=1, keepdims=True)


def fit_weights(method: str, stack: np.ndarray, y_true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weights of the members (m,), and the bias (C,) of stacking or an empty one.

    Args:
        method: one of `METHODS`, or `best`: the member of the highest accuracy, then the lowest log loss.
        stack: (m, n, C).
        y_true: class numbers (n,), or indicators of tags (n, C), for which there is no stacking.
    """
    members = len(stack)
    if method == "stacking":
        return fit_stacker(stack, y_true)
    if method == "weighted":
        weights = fit_mixture(stack, y_true)
    elif method == "greedy":
        weights = select_greedily(stack, y_true)
    elif method == BEST:
        weights = np.eye(members)[max(range(members), key=lambda k: quality(stack[k], y_true))]
    else:
        weights = np.full(members, 1 / members)
    return weights, np.empty(0)


def quality(probability: np.ndarray, y_true: np.ndarray) -> tuple[float, float]:
    """Accuracy and negative log loss, to compare in this order: accuracy alone has many ties on few tracks. Of tags, PR-AUC first."""
    if y_true.ndim == 2:
        pr_auc = Rankings(y_true, probability).macro(np.ones((1, len(y_true))))["pr_auc"]
        return float(pr_auc[0]), float(log_probability(probability_of_truth(probability, y_true)).mean())
    correct = probability.argmax(1) == y_true
    return float(correct.mean()), float(log_probability(probability)[np.arange(len(y_true)), y_true].mean())


def probability_of_truth(probability: np.ndarray, y_true: np.ndarray) -> np.ndarray:
    """The probability that a model gives to each tag being as it is, (..., n, C)."""
    return np.where(y_true.astype(bool), probability, 1 - probability)


def fit_mixture(stack: np.ndarray, y_true: np.ndarray) -> np.ndarray:
    """Weights of the members in a mean, (m,): the most probable ones by the log loss and a Dirichlet prior of equal weights.

    The prior counts as `PRIOR_TRACKS` tracks. The problem is concave and is solved by expectation maximisation.
    """
    members = len(stack)
    if y_true.ndim == 2:
        likelihood = probability_of_truth(stack, y_true).reshape(members, -1).clip(FLOOR)
    else:
        likelihood = stack[:, np.arange(len(y_true)), y_true].clip(FLOOR)
    per_track = likelihood.shape[1] / len(y_true)
    weights = np.full(members, 1 / members)
    for _ in range(EM_STEPS):
        joint = weights[:, None] * likelihood
        counts = (joint / joint.sum(axis=0)).sum(axis=1) / per_track + PRIOR_TRACKS / members
        weights = counts / counts.sum()
    return weights


def select_greedily(stack: np.ndarray, y_true: np.ndarray) -> np.ndarray:
    """Weights of the members in a mean, (m,), by ensemble selection with replacement (Caruana et al., ICML 2004).

    The best member comes first; each step adds the member with which the mean is best. The best of all steps is used, so that the
    result is at least as good as the best member on these tracks.
    """
    total, chosen = np.zeros_like(stack[0], dtype=np.float64), np.zeros(len(stack))
    best: tuple[tuple[float, float], np.ndarray] | None = None
    for step in range(1, GREEDY_STEPS + 1):
        scores = [quality((total + member) / step, y_true) for member in stack]
        k = max(range(len(stack)), key=scores.__getitem__)
        total, chosen = total + stack[k], chosen + np.eye(len(stack))[k]
        if best is None or scores[k] > best[0]:
            best = scores[k], chosen / step
    assert best is not None
    return best[1]


def fit_stacker(stack: np.ndarray, y_true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Multinomial logistic regression on the members' log-probabilities: a weight per member (m,) and a bias per class (C,).

    A ridge penalty pulls the weights towards the geometric mean of the members and the biases towards 0. It is scaled so that
    copies of a member count as one.
    """
    from scipy.optimize import minimize

    members, n, classes = stack.shape
    features, target = log_probability(stack), np.eye(classes)[y_true]

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = x[:members], x[members:]
        logits = np.tensordot(weights, features, 1) + bias
        probability = softmax(logits)
        shift = weights - 1 / members
        loss = -log_probability(probability, 1e-300)[np.arange(n), y_true].sum()
        loss += PRIOR_PRECISION / 2 * (members * shift @ shift + bias @ bias)
        error = probability - target
        by_weight = np.tensordot(features, error, 2) + PRIOR_PRECISION * members * shift
        return float(loss), np.concatenate([by_weight, error.sum(axis=0) + PRIOR_PRECISION * bias])

    start = np.concatenate([np.full(members, 1 / members), np.zeros(classes)])
    solution = minimize(
        objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 500, "gtol": 1e-8, "ftol": 1e-13}
    )
    return solution.x[:members], solution.x[members:]


def cross_fit(method: str, stack: np.ndarray, y_true: np.ndarray, groups: list[str | None]) -> np.ndarray:
    """The probabilities of an ensemble, (n, C), each track's from a fit without its fold.

    Args:
        method: as in `fit_weights`.
        stack: (m, n, C).
        y_true: class numbers, (n,).
        groups: each track's group, or None; a group is in one fold.

    Raises:
        ValueError: if all tracks are of one group.
    """
    folds = grouped_folds(groups)
    if not folds.any():
        raise ValueError("all tracks are of one group")
    combined = np.empty(stack.shape[1:])
    for fold in range(folds.max() + 1):
        scored = folds == fold
        weights, bias = fit_weights(method, stack[:, ~scored], y_true[~scored])
        combined[scored] = combine(stack[:, scored], weights, bias, y_true.ndim == 2)
    return combined


def grouped_folds(groups: list[str | None], folds: int = FOLDS) -> np.ndarray:
    """The fold of each track, (n,): whole groups, and tracks without a group, in random order into the smallest fold."""
    clusters = Clusters.of(groups)
    sizes = np.bincount(clusters.codes)
    fold_of, filled = np.zeros(clusters.count, int), np.zeros(min(folds, clusters.count), int)
    for cluster in np.random.default_rng(0).permutation(clusters.count):
        fold_of[cluster] = filled.argmin()
        filled[fold_of[cluster]] += sizes[cluster]
    return fold_of[clusters.codes]


def log_probability(probability: np.ndarray, floor: float = FLOOR) -> np.ndarray:
    """Logarithms of probabilities, of `floor` for smaller ones."""
    return np.log(probability.clip(floor))
