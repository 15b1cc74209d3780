"""TensorFlow's checkpoints without TensorFlow: what was written is read; what is damaged or odd is an error, never a guess."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicreclass.errors import WeightsError
from musicreclass.models.weights.crc32c import crc32c
from musicreclass.models.weights.tensorflow import tensors
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
BLOCKS, KEYS, DATA = bundle.bundle(VARIABLES)
INDEX = bundle.table(BLOCKS, KEYS)


def read(index: bytes, data: bytes = DATA) -> dict[str, np.ndarray]:
    return tensors(index, data, "folder/model")


def same(found: dict[str, np.ndarray], variables: dict[str, np.ndarray] = VARIABLES) -> bool:
    return found.keys() == variables.keys() and all(
        found[name].dtype == value.dtype and found[name].shape == value.shape and np.array_equal(found[name], value)
        for name, value in variables.items()
    )


def complaint(index: bytes, data: bytes = DATA) -> str:
    with pytest.raises(WeightsError) as caught:
        read(index, data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_checksum_is_castagnoli() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of the catalogues
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert crc32c(bytes(range(32))) == 0x46DD794E


@given(st.binary(max_size=600))
def test_checksum_of_any_length(data: bytes) -> None:
    assert crc32c(data) == bundle.crc32c(data)


@given(
    names=st.lists(st.text(min_size=1, max_size=12), unique_by=str.encode, max_size=9),
    per_block=st.integers(1, 9),
    dtype=st.sampled_from(list(bundle.TYPES)),
    shape=st.lists(st.integers(0, 4), max_size=4),
)
@settings(deadline=None, max_examples=50)
def test_what_was_written_is_read(names: list[str], per_block: int, dtype: str, shape: list[int]) -> None:
    names = sorted(names, key=str.encode)
    variables = {name: (np.random.default_rng(i).random(shape) * 100).astype(dtype) for i, name in enumerate(names)}
    blocks, keys, data = bundle.bundle(variables, per_block)
    assert same(read(bundle.table(blocks, keys), data), variables)


def flipped(data: bytes, *changes: tuple[int, int]) -> bytes:
    out = bytearray(data)
    for at, mask in changes:
        out[at % len(out)] ^= mask
    return bytes(out)


def tolerated(index: bytes, data: bytes) -> bool:
    """Whether it is refused in one line, or nothing has changed."""
    try:
        return same(read(index, data))
    except WeightsError as error:
        return "\n" not in str(error) and "folder/model." in str(error)


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_any_damaged_byte_is_an_error(mask: int) -> None:
    assert all(tolerated(flipped(INDEX, (at, mask)), DATA) for at in range(len(INDEX)))
    for at in range(len(DATA)):
        assert "the checksum of" in complaint(INDEX, flipped(DATA, (at, mask)))


@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), min_size=2, max_size=2), st.booleans())
@settings(deadline=None, max_examples=300)
def test_two_damaged_bytes_are_an_error(changes: list[tuple[int, int]], in_index: bool) -> None:
    index, data = (flipped(INDEX, *changes), DATA) if in_index else (INDEX, flipped(DATA, *changes))
    assert tolerated(index, data)


@given(
    st.integers(0, len(BLOCKS)),
    st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), min_size=1, max_size=3),
)
@settings(deadline=None, max_examples=500)
def test_a_block_that_is_signed_again_is_never_another_error(which: int, changes: list[tuple[int, int]]) -> None:
    blocks, meta = list(BLOCKS), bundle.block([])
    if which < len(blocks):
        blocks[which] = flipped(blocks[which], *changes)
    else:
        meta = flipped(meta, *changes)
    with suppress(WeightsError):
        found = read(bundle.table(blocks, KEYS, meta=meta))
        assert all(isinstance(value, np.ndarray) for value in found.values())


@given(st.binary(max_size=200), st.binary(max_size=40))
def test_rubbish_is_an_error(start: bytes, footer: bytes) -> None:
    assert "folder/model.index: " in complaint(start)
    assert "folder/model.index: " in complaint(start + footer.ljust(40, b"\0") + INDEX[-8:])


@pytest.mark.parametrize("kept", [0, 10, len(INDEX) // 2, len(INDEX) - 1])
def test_index_cut_short(kept: int) -> None:
    assert "folder/model.index: " in complaint(INDEX[:kept])
    assert "it does not end as one does; it may be cut short" in complaint(INDEX[:kept])


def test_data_cut_short_or_too_long() -> None:
    assert "it ends within steps" in complaint(INDEX, DATA[:-1])
    assert "1 bytes too many" in complaint(INDEX, DATA + b"\0")
    assert "folder/model.data-00000-of-00001: " in complaint(INDEX, b"")


def test_what_is_not_read_here_is_named() -> None:
    one = {"w": VARIABLES["conv/bias"]}
    header = bundle.field(1, 1)

    def index(**options: object) -> bytes:
        blocks, keys, _ = bundle.bundle(one, **options)  # type: ignore[arg-type]
        return bundle.table(blocks, keys)

    data = one["w"].tobytes()
    assert same(read(index(), data), one)
    assert "w is of type 7" in complaint(index(dtype=7), data)
    assert "does not fit its shape" in complaint(index(dtype=2), data)
    assert "not in one file" in complaint(index(header=bundle.field(1, 2)), data)
    assert "big-endian" in complaint(index(header=header + bundle.field(2, 1)), data)
    assert "field 9" in complaint(index(header=header + bundle.field(9, 1)), data)
    assert "compressed" in complaint(bundle.table(*bundle.bundle(one)[:2], compression=1), data)
    assert "filter" in complaint(bundle.table(*bundle.bundle(one)[:2], meta=bundle.block([(b"filter.x", b"")])), data)
    value = bundle.entry(one["w"], 0)
    for change, words in (
        (bundle.field(7, b""), "partitioned"),
        (bundle.field(3, 1), "in file 1"),
        (bundle.field(4, 8), "begins at byte 8"),
        (bundle.field(4, 1 << 62), "impossible"),
        (bundle.field(5, 12), "described twice"),
    ):
        pairs = [(b"", header), (b"w", value + change)]
        assert words in complaint(bundle.table([bundle.block(pairs)], [b"w"]), data)
    assert "order" in complaint(
        bundle.table([bundle.block([(b"", header), (b"w", value), (b"w", value)])], [b"w"]), data
    )
    assert "header" in complaint(bundle.table([bundle.block([(b"w", value)])], [b"w"]), data)
