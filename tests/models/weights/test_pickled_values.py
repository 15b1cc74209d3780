"""Arrays and encoders are read by an allow-list; any other object is named, and nothing of a file is executed."""

from __future__ import annotations

import builtins
import os
import pickle
import random
import zipfile
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.preprocessing import LabelEncoder

from musicreclass.errors import WeightsError
from musicreclass.models.weights.pickled_values import NumpyType, PickledArray
from musicreclass.models.weights.torch_files import load_checkpoint
from tests.legacy import cnn_content, mlp_content, save


def with_pickle(path: Path, content: bytes) -> Path:
    """A file of torch.save with another pickle."""
    save(path, {"a": torch.arange(3.0)})
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, content if name.endswith("data.pkl") else data)
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_values_are_those_that_were_saved(tmp_path, protocol):
    encoder = LabelEncoder().fit(["rock", "blues", "華語"])
    objects = LabelEncoder().fit(np.array(["b", "a"], object))
    matrix = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    tensor = torch.arange(24.0).reshape(2, 3, 4)
    content = {
        "state": OrderedDict(a=tensor.permute(2, 0, 1), b=torch.nn.Parameter(torch.ones(2, dtype=torch.float16)), n=torch.tensor(7)),
        "encoders": [encoder, objects],
        "matrix": matrix,
        "big": np.array([1.5, 2], ">f8"),
        "names": np.array(["x", "yz"]),
        "plain": [np.float64(0.25), np.float32(0.5), np.int64(-3), np.bool_(True), np.str_("é"), 2**40, None, True, 0.1, (1, "t")],
    }  # fmt: skip
    read = load_checkpoint(save(tmp_path / "x.pth", content, protocol), with_arrays=True)
    assert all(torch.equal(read["state"][name], content["state"][name]) for name in "abn")
    assert [e.classes() for e in read["encoders"]] == [encoder.classes_.tolist(), ["a", "b"]]
    assert np.array_equal(read["matrix"].numbers(), matrix)
    assert read["big"].numbers().tolist() == [1.5, 2]
    assert read["names"].strings() == ["x", "yz"]
    assert read["plain"] == content["plain"]


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_module_names_of_both_numpy_versions_are_read(tmp_path, module):
    path = save(tmp_path / "x.pth", {"mean": np.arange(3.0), "accuracy": np.float64(0.5)})
    with zipfile.ZipFile(path) as archive:
        content = archive.read("x/data.pkl")
    written = b"numpy._core.multiarray" if b"numpy._core" in content else b"numpy.core.multiarray"
    read = load_checkpoint(with_pickle(path, content.replace(written, module)), with_arrays=True)
    assert (read["mean"].numbers().tolist(), read["accuracy"]) == ([0, 1, 2], 0.5)


class Calls:
    """An object, the pickle of which calls a function."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.reduced


def gadgets(canary: Path) -> dict[str, Any]:
    """Objects that would create a file if they were loaded, by the function that the error must name."""
    code = f"open({str(canary)!r}, 'w')"
    return {
        f"{os.system.__module__}.system": Calls(os.system, f"touch {canary}"),
        "eval": Calls(builtins.eval, code),
        "exec": Calls(builtins.exec, code),
        "getattr": Calls(getattr, Calls(builtins.__import__, "os"), "system"),
        "pathlib.PosixPath": canary,
        "torch.serialization.load": Calls(torch.load, str(canary)),
        "torch.hub.load": Calls(torch.hub.load, "x", "y"),
        "torch.storage._load_from_bytes": Calls(torch.storage._load_from_bytes, b"x"),
        "torch._utils._rebuild_device_tensor_from_numpy": Calls(torch._utils._rebuild_device_tensor_from_numpy, 1, 2, 3, 4),
        "subprocess.Popen": Calls(__import__("subprocess").Popen, ["touch", str(canary)]),
        "numpy.memmap": Calls(np.memmap, str(canary), "u1", "w+", 0, (3,)),
        "numpy.load": Calls(np.load, str(canary)),
        "sklearn.pipeline.Pipeline": Calls(__import__("sklearn.pipeline").pipeline.Pipeline, []),
    }  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("nested", ["value", "list", "encoder", "array", "dictionary", "state"])
def test_foreign_objects_are_named_and_not_executed(tmp_path, nested, protocol):
    canary = tmp_path / "executed"
    for name, gadget in gadgets(canary).items():
        encoder = LabelEncoder().fit(["a", "b"])
        encoder.classes_ = gadget
        value = {
            "value": gadget,
            "list": [1, (2, gadget)],
            "encoder": encoder,
            "array": np.array([gadget, 1], object),
            "dictionary": {"deep": {"deeper": gadget}},
            "state": Calls(OrderedDict, state={"x": gadget}),
        }[nested]
        path = save(tmp_path / "x.pth", {"weights": torch.zeros(3), "value": value}, protocol)
        with pytest.raises(WeightsError) as caught:
            load_checkpoint(path, with_arrays=True)
        assert caught.value.kind == "foreign_objects", name
        assert name.rpartition(".")[2] in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not canary.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02ctorch._utils\n_rebuild_parameter\n}b.",  # a state for a function
        b"\x80\x02ccollections\nOrderedDict\nN}X\x01\x00\x00\x00aK\x01s\x86b.",  # attributes of a class
        b"\x80\x02csklearn.preprocessing._label\nLabelEncoder\nX\x01\x00\x00\x00a\x85R.",  # a class that is called
        b"\x80\x02cnumpy\nndarray\nK\x01\x85R.",
        b"\x80\x02cnumpy\nndarray\n)\x81.",  # another class that is created
        b"\x80\x02ctorch\nFloatStorage\nK\x01\x85R.",
        b"\x80\x02\x82\x01.",  # copyreg's registry
        b"\x80\x02(ios\nsystem\n.",
        b"\x80\x02}(]K\x01u.",  # a list as a key
        b"\x80\x02]h\x00a.",  # memo without a value
        b"\x80\x02.",
        b"",
    ],
)
def test_operations_that_torch_does_not_write_are_errors(tmp_path, content):
    with pytest.raises(WeightsError) as caught:
        load_checkpoint(with_pickle(tmp_path / "x.pth", content), with_arrays=True)
    assert caught.value.kind in ("foreign_objects", "damaged_file")


def test_a_text_that_is_copied_many_times_is_not_expanded(tmp_path):
    """A thousand references to a megabyte of text, each of which would be a copy."""
    text = b"X" + (1 << 20).to_bytes(4, "little") + b"a" * (1 << 20) + b"q\x00X\x06\x00\x00\x00latin1q\x01"
    copies = b"c_codecs\nencode\nh\x00h\x01\x86Ra" * 1000
    with pytest.raises(WeightsError) as caught:
        load_checkpoint(with_pickle(tmp_path / "x.pth", b"\x80\x02]" + text + copies + b"."), with_arrays=True)
    assert caught.value.kind == "damaged_file"


@pytest.mark.parametrize("code", ["O8", "V9999", "f8,f8", "O", "M8[s]", "U99999", "U0", "f16"])
def test_other_data_types_are_errors(code):
    """NumPy never sees a type that a file could have forged, such as objects without the flag that they are objects."""
    with pytest.raises(ValueError):
        PickledArray((1,), NumpyType(code, "|"), False, b"\x00" * 8).numbers()


def test_a_compressed_file_is_not_expanded(tmp_path):
    original, path = save(tmp_path / "x.pth", mlp_content()[1]), tmp_path / "compressed.pth"
    with zipfile.ZipFile(original) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(WeightsError) as caught:
        load_checkpoint(path, with_arrays=True)
    assert caught.value.kind == "damaged_file"


def test_a_tensor_or_array_is_not_larger_than_its_data(tmp_path):
    path = save(tmp_path / "x.pth", {"a": torch.zeros(3), "b": np.zeros(3)})
    with zipfile.ZipFile(path) as archive:
        content = archive.read("x/data.pkl")
    size = b"K\x03\x85"  # (3,)
    assert content.count(size) == 2
    for count in (0, 1):
        parts = content.split(size)
        larger = size.join(parts[: count + 1]) + b"M\xff\x7f\x85" + size.join(parts[count + 1 :])
        with pytest.raises((WeightsError, ValueError)):
            load_checkpoint(with_pickle(path, larger), with_arrays=True)["b"].numbers()


@pytest.mark.parametrize("content", [mlp_content()[1], cnn_content()[1]], ids=["mlp", "cnn"])
def test_damaged_files_are_one_line(tmp_path, content):
    """Random changes of the pickle, where the file's structure is."""
    path = save(tmp_path / "x.pth", content)
    with zipfile.ZipFile(path) as archive:
        original = archive.read("x/data.pkl")
    draw = random.Random(0)
    for _ in range(150):
        changed = bytearray(original)
        for _ in range(draw.choice((1, 1, 3))):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        with suppress(WeightsError):
            load_checkpoint(with_pickle(path, bytes(changed)), with_arrays=True)


def test_python_would_have_executed_the_gadgets(tmp_path):
    """The canary is one: unpickling without a list of names creates it."""
    canary = tmp_path / "executed"
    pickle.loads(pickle.dumps(gadgets(canary)["eval"])).close()
    assert canary.exists()
