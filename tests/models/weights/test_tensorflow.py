"""The reader of TensorFlow checkpoints: reads what was written and rejects damaged or unsupported files."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicreclass.errors import WeightsError
from musicreclass.models.weights.crc32c import crc32c
from musicreclass.models.weights.tensorflow import read_bundle
from tests import tensorflow_bundle as bundle

RNG = np.random.default_rng(0)
VARIABLES: dict[str, np.ndarray] = {
    "conv/bias": RNG.random(3).astype(np.float32),
    "conv/kernel": RNG.random((2, 3, 1, 3)).astype(np.float32),
    "conv/kernel/Adam": RNG.random((2, 3)).astype(np.float16),
    "empty": np.zeros((0, 4), np.float64),
    "step": np.array(7, np.int64),
    "steps": np.arange(5, dtype=np.int32),
}
BLOCKS, LAST_KEYS, DATA = bundle.bundle(VARIABLES)
INDEX = bundle.table(BLOCKS, LAST_KEYS)
INDEX_PATH, DATA_PATH = "folder/model.index", "folder/model.data-00000-of-00001"


def read(index: bytes, data: bytes = DATA) -> dict[str, np.ndarray]:
    return read_bundle(index, data, "folder/model")


def equal(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray] = VARIABLES) -> bool:
    return actual.keys() == expected.keys() and all(
        actual[name].dtype == value.dtype and actual[name].shape == value.shape and np.array_equal(actual[name], value)
        for name, value in expected.items()
    )


def error_of(index: bytes, data: bytes = DATA) -> tuple[str, str]:
    """Kind and key of the error; its message is one line that starts with the key."""
    with pytest.raises(WeightsError) as caught:
        read(index, data)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{caught.value.key}: ")
    return caught.value.kind, caught.value.key


def test_crc32c_of_published_examples() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value in catalogues of CRC algorithms
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert crc32c(bytes(range(32))) == 0x46DD794E


@given(st.binary(max_size=600))
def test_crc32c_of_any_length(data: bytes) -> None:
    assert crc32c(data) == bundle.crc32c(data)


@given(
    names=st.lists(st.text(min_size=1, max_size=12), unique_by=str.encode, max_size=9),
    per_block=st.integers(1, 9),
    dtype=st.sampled_from(list(bundle.DTYPES)),
    shape=st.lists(st.integers(0, 4), max_size=4),
)
@settings(max_examples=50)
def test_round_trip(names: list[str], per_block: int, dtype: str, shape: list[int]) -> None:
    names = sorted(names, key=str.encode)
    variables = {name: (np.random.default_rng(i).random(shape) * 100).astype(dtype) for i, name in enumerate(names)}
    blocks, last_keys, data = bundle.bundle(variables, per_block)
    assert equal(read(bundle.table(blocks, last_keys), data), variables)


def flip_bits(data: bytes, *changes: tuple[int, int]) -> bytes:
    out = bytearray(data)
    for position, mask in changes:
        out[position % len(out)] ^= mask
    return bytes(out)


def is_rejected_or_unchanged(index: bytes, data: bytes) -> bool:
    try:
        return equal(read(index, data))
    except WeightsError as error:
        return "\n" not in str(error) and error.key in (INDEX_PATH, DATA_PATH)


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_any_damaged_byte_is_rejected(mask: int) -> None:
    assert all(is_rejected_or_unchanged(flip_bits(INDEX, (at, mask)), DATA) for at in range(len(INDEX)))
    for position in range(len(DATA)):
        assert error_of(INDEX, flip_bits(DATA, (position, mask))) == ("wrong_checksum", DATA_PATH)


@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), min_size=2, max_size=2), st.booleans())
@settings(max_examples=300)
def test_two_damaged_bytes_are_rejected(changes: list[tuple[int, int]], in_index: bool) -> None:
    index, data = (flip_bits(INDEX, *changes), DATA) if in_index else (INDEX, flip_bits(DATA, *changes))
    assert is_rejected_or_unchanged(index, data)


@given(
    st.integers(0, len(BLOCKS)),
    st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), min_size=1, max_size=3),
)
@settings(max_examples=500)
def test_damage_with_a_valid_checksum_raises_only_weights_errors(block: int, changes: list[tuple[int, int]]) -> None:
    blocks, meta = list(BLOCKS), bundle.block([])
    if block < len(blocks):
        blocks[block] = flip_bits(blocks[block], *changes)
    else:
        meta = flip_bits(meta, *changes)
    with suppress(WeightsError):
        variables = read(bundle.table(blocks, LAST_KEYS, meta=meta))
        assert all(isinstance(value, np.ndarray) for value in variables.values())


@given(st.binary(max_size=200), st.binary(max_size=40))
def test_random_bytes_are_rejected(start: bytes, footer: bytes) -> None:
    assert error_of(start)[1] == INDEX_PATH
    assert error_of(start + footer.ljust(40, b"\0") + INDEX[-8:])[1] == INDEX_PATH


@pytest.mark.parametrize("length", [0, 10, len(INDEX) // 2, len(INDEX) - 1])
def test_truncated_index(length: int) -> None:
    assert error_of(INDEX[:length]) == ("damaged_file", INDEX_PATH)


def test_truncated_or_extended_data() -> None:
    for data in (DATA[:-1], DATA + b"\0", b""):
        assert error_of(INDEX, data) == ("damaged_file", DATA_PATH)


def test_unsupported_formats() -> None:
    variables = {"w": VARIABLES["conv/bias"]}
    data, header = variables["w"].tobytes(), bundle.field(1, 1)
    blocks, last_keys, _ = bundle.bundle(variables)

    def index(**options: object) -> bytes:
        blocks, last_keys, _ = bundle.bundle(variables, **options)  # type: ignore[arg-type]
        return bundle.table(blocks, last_keys)

    assert equal(read(index(), data), variables)
    for unsupported in (
        index(dtype=7),
        index(header=bundle.field(1, 2)),  # two data files
        index(header=header + bundle.field(2, 1)),  # big-endian
        index(header=header + bundle.field(9, 1)),  # an unknown field
        bundle.table(blocks, last_keys, compression=1),
        bundle.table(blocks, last_keys, meta=bundle.block([(b"filter.x", b"")])),
    ):
        assert error_of(unsupported, data) == ("unsupported_format", INDEX_PATH)
    assert error_of(index(dtype=2), data) == ("damaged_file", INDEX_PATH)  # the size does not match the shape


def test_invalid_entries() -> None:
    w = VARIABLES["conv/bias"]
    header, value = (b"", bundle.field(1, 1)), bundle.entry(w, 0)
    for addition, expected in (
        (bundle.field(7, b""), ("unsupported_format", INDEX_PATH)),  # partitioned
        (bundle.field(3, 1), ("unsupported_format", INDEX_PATH)),  # in another data file
        (bundle.field(4, 8), ("damaged_file", DATA_PATH)),  # starts at byte 8
        (bundle.field(4, 1 << 62), ("damaged_file", INDEX_PATH)),
        (bundle.field(5, 12), ("damaged_file", INDEX_PATH)),  # a repeated field
    ):
        table = bundle.table([bundle.block([header, (b"w", value + addition)])], [b"w"])
        assert error_of(table, w.tobytes()) == expected
    for pairs in ([header, (b"w", value), (b"w", value)], [(b"w", value)]):  # a duplicate key; no header
        assert error_of(bundle.table([bundle.block(pairs)], [b"w"]), w.tobytes()) == ("damaged_file", INDEX_PATH)
