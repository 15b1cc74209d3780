"""NumPy files as tables: only with names."""

from __future__ import annotations

import json

import numpy as np
import pytest

from musicreclass.data.sources.table_arrays import names_file, read_arrays
from musicreclass.data.sources.table_file import TableFile
from musicreclass.errors import DataError
from tests.conftest import make_frame

FRAME = make_frame()
FEATURES = [name for name in FRAME if name not in ("track_id", "label")]
NAMES = {"columns": FEATURES, "track_id": FRAME.track_id.tolist(), "label": FRAME.label.tolist()}
X = FRAME[FEATURES].to_numpy(np.float32)


def opened(path) -> TableFile:
    data = TableFile(str(path), {"protocol": "auto"})
    data.setup()
    return data


def expected(here) -> TableFile:
    FRAME.to_parquet(here / "t.parquet")
    return opened(here / "t.parquet")


def test_an_array_without_names_is_rejected(here):
    np.save(here / "x.npy", X)
    np.savez(here / "x.npz", x=X)
    np.savez(here / "y.npz", X)
    for name in ("x.npy", "x.npz", "y.npz"):
        with pytest.raises(DataError) as caught:
            opened(here / name)
        assert caught.value.kind == "unnamed_array"
        assert names_file(here / name).name in str(caught.value)


@pytest.mark.parametrize("form", ["npy", "npz", "named npz"])
def test_a_named_array_is_the_table(here, form):
    path = here / f"x.{form[-3:]}"
    if form == "npy":
        np.save(path, X)
    else:
        np.savez(path, x=X, **(NAMES if form == "named npz" else {}))
    if form != "named npz":
        names_file(path).write_text(json.dumps(NAMES))
    data = opened(path)
    assert data.columns == FEATURES
    assert data.fingerprint() == expected(here).fingerprint()


@pytest.mark.parametrize(("change", "kind"), [
    ({"columns": FEATURES[:-1]}, "wrong_shape"), ({"label": ["a"]}, "wrong_length"),
    ({"columns": [FEATURES[0]] * len(FEATURES)}, "duplicate_column"),
    ({"columns": ["label", *FEATURES[1:]]}, "duplicate_column"),
])  # fmt: skip
def test_names_must_fit(here, change, kind):
    np.save(here / "x.npy", X)
    names_file(here / "x.npy").write_text(json.dumps({**NAMES, **change}))
    with pytest.raises(DataError) as caught:
        opened(here / "x.npy")
    assert caught.value.kind == kind


def test_pickled_objects_are_not_loaded(here):
    np.savez(here / "x.npz", x=X, columns=np.array(FEATURES, object), track_id=NAMES["track_id"], label=NAMES["label"])
    with pytest.raises(DataError) as caught:
        opened(here / "x.npz")
    assert caught.value.kind == "unreadable"


@pytest.mark.parametrize("rows", [30, 29])
def test_features_and_tags_without_a_common_key_are_rejected(here, rows):
    """As archives of MagnaTagATune's features and tags, whose rows differ in number."""
    np.savez(here / "mtt.npz", features=np.zeros((30, 60)), tags=np.zeros((rows, 50)))
    with pytest.raises(DataError) as caught:
        read_arrays(here / "mtt.npz")
    (problem,) = caught.value.problems
    assert (problem.kind, problem.value) == ("unjoined_arrays", ["features", "tags"])
    assert f"{rows} x 50" in problem.message
