"""Generates malformed tables, by file name, and tables that are unusual and can be trained on."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

ESCAPE = "\x1b[31mred\x1b]0;title\x07"
CELLS = ("?", "n/a (see notes)", "1,5", "0x1F", "1_000", "1e", "--", "12 kHz", "#DIV/0!", ESCAPE, "1\r2", "٣", "½", "1;2", "True story",
         "true", "2020-01-01", "[1, 2]", "{}", "1+2j", "\u22125")  # fmt: skip
NUMBERS = (
    "1e39",
    "-1e39",
    "1e400",
    "inf",
    "-Infinity",
    "nan",
    "NaN",
    "NULL",
    "",
    "1e-400",
    str(2**63),
    str(-(2**63)),
    str(2**70),
    "007",
    "+1",
    " 2 ",
    "1E5",
)
LABELS = {"nan": "nan", "na": "NA", "none": "None", "number": "7", "blank": " ", "escape": ESCAPE, "newline": "a\nb", "path": "../../x", "long": "x" * 5000,
          "markup": "<script>alert(1)</script>[bold]", "formula": "=1+1", "surrogate": "\U0001f3b5", "right to left": "\u202ejazz"}  # fmt: skip


def frame(n: int = 60, features: int = 3) -> pd.DataFrame:
    """A table that can be trained on."""
    rng = np.random.default_rng(0)
    x = pd.DataFrame(rng.standard_normal((n, features)).round(4), columns=[f"f{i}" for i in range(features)])
    return pd.concat(
        [pd.DataFrame({"track_id": [f"t{i}" for i in range(n)], "label": list("abc") * (n // 3)}), x], axis=1
    )


def text(table: pd.DataFrame | None = None, **options: object) -> str:
    """A table as CSV."""
    return (frame() if table is None else table).to_csv(index=False, **options)


def with_cell(value: object, row: int = 7, column: str = "f0") -> pd.DataFrame:
    """The table with another value in one cell."""
    table = frame().astype({column: object})
    table.loc[row, column] = value
    return table


def as_parquet(table: pd.DataFrame | pa.Table) -> bytes:
    """A table as Parquet."""
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pandas(table) if isinstance(table, pd.DataFrame) else table, buffer)
    return buffer.getvalue()


def with_column(values: pa.Array) -> bytes:
    """The table as Parquet with one more column."""
    return as_parquet(pa.Table.from_pandas(frame()).append_column("extra", values))


def rejected_text() -> dict[str, bytes]:
    """CSV files that must be rejected."""
    lines = text().splitlines()
    ragged = [*lines[:9], lines[9] + ",1", *lines[10:]]
    german = text(sep=";", decimal=",")
    files = {
        "empty": "", "newlines": "\n\n\n", "header only": lines[0] + "\n", "bom only": "\ufeff", "no header": "\n".join(lines[1:]),
        "semicolons": text(sep=";"), "german": german, "tabs": text(sep="\t"), "pipes": text(sep="|"), "spaces": text(sep=" "),
        "ragged": "\n".join(ragged), "short row": "\n".join([*lines[:9], lines[9].rpartition(",")[0], *lines[10:]]),
        "header twice": "\n".join([*lines[:40], lines[0], *lines[40:]]), "open quote": "\n".join([*lines[:9], '"' + lines[9], *lines[10:]]),
        "title above": "My features\n" + text(), "comment": "# made by me\n" + text(), "total below": text() + "total,,,\n",
        "html": "<!DOCTYPE html><html><table></table></html>", "json": frame().to_json(orient="records"),
        "pointer": "version https://git-lfs.github.com/spec/v1\noid sha256:" + "1" * 64 + "\nsize 661794\n",
        "same column twice": text().replace("f1", "f0"), "no id": text(frame().drop(columns="track_id")), "no label": text(frame().drop(columns="label")),
        "no features": text(frame()[["track_id", "label"]]), "one class": text(frame().assign(label="a")), "no labels": text(frame().assign(label=None)),
        "one row": text(frame(3)[:1]), "two rows": text(frame(3)[:2]), "duplicate ids": text(frame().assign(track_id="t")),
        "missing ids": text(frame().assign(track_id=None)), "no finite value": text(frame().assign(f0=None, f1="inf", f2=None).astype({"f1": float})),
        "one class each": text(frame().assign(label=[f"c{i}" for i in range(60)])), "escape in header": text().replace("label", ESCAPE),
        "column of text": text(frame().assign(mood="sad")), "vertical": "\n".join(lines).replace(",", "\n"),
    }  # fmt: skip
    files |= {f"cell {i}": text(with_cell(value)) for i, value in enumerate(CELLS)}
    encoded = {name: content.encode() for name, content in files.items()}
    plain = text().encode()
    return encoded | {
        "utf-16": text().encode("utf-16"), "utf-16-be": text().encode("utf-16-be"), "utf-32": text().encode("utf-32"),
        "latin-1 header": text().replace("f1", "\xe9nergie").encode("latin-1"), "latin-1 label": text().replace(",a,", ",caf\xe9,").encode("latin-1"),
        "gzip": gzip.compress(plain, mtime=0), "zip": b"PK\x03\x04" + plain, "xlsx": b"PK\x03\x04\x14\0\6\0" + bytes(500), "parquet": as_parquet(frame()),
        "zeros": bytes(10_000), "nul row": plain[:500] + bytes(50) + plain[500:], "noise": np.random.default_rng(0).bytes(20_000),
        "sqlite": b"SQLite format 3\0" + bytes(4000), "npy": b"\x93NUMPY\1\0v\0" + bytes(200), "pickle": b"\x80\x04\x95" + bytes(200),
    }  # fmt: skip


def rejected_parquet() -> dict[str, bytes]:
    """Parquet files that must be rejected."""
    n, good = 60, as_parquet(frame())
    rng = np.random.default_rng(0)
    footer = bytearray(good)
    for at in rng.integers(len(good) - 400, len(good) - 8, 30):
        footer[at] ^= 0x55
    return {
        **{f"cut {fraction}": good[: int(len(good) * fraction)] for fraction in (0, 0.001, 0.5, 0.99)},
        "magic": b"PAR1", "twice the magic": b"PAR1PAR1", "csv": text().encode(), "damaged footer": bytes(footer),
        "huge footer": good[:-8] + b"\xff\xff\xff\x7fPAR1", "feather": b"ARROW1\0\0" + bytes(500), "gzip": gzip.compress(good, mtime=0),
        "list": with_column(pa.array([[1.0, 2.0]] * n)), "struct": with_column(pa.array([{"a": 1.0}] * n)),
        "map": with_column(pa.array([[("a", 1.0)]] * n, pa.map_(pa.string(), pa.float32()))), "bytes": with_column(pa.array([b"\xff"] * n)),
        "date": with_column(pa.array([0] * n, pa.date32())), "timestamp": with_column(pa.array([0] * n, pa.timestamp("us", "UTC"))),
        "text": with_column(pa.array(["x"] * n)), "dictionary": with_column(pa.array(["x"] * n).dictionary_encode()),
        "duration": with_column(pa.array([0] * n, pa.duration("s"))), "time": with_column(pa.array([0] * n, pa.time64("us"))),
        "no rows": as_parquet(frame()[:0]), "no columns": as_parquet(pa.table({})), "list of labels": as_parquet(frame().assign(label=[["a"]] * n)),
        "struct of ids": as_parquet(frame().assign(track_id=[{"a": 1}] * n)), "no label": as_parquet(frame().drop(columns="label")),
        "same column twice": as_parquet(pa.table([pa.array(["t", "u"]), pa.array([1.0, 2.0]), pa.array([1.0, 2.0])], ["track_id", "f0", "f0"])),
    }  # fmt: skip


def accepted() -> dict[str, bytes]:
    """Unusual tables that can be trained on, by file name."""
    table, n = frame(), 60
    files = {f"number {i}.csv": text(with_cell(value)).encode() for i, value in enumerate(NUMBERS)}
    files |= {
        f"label {name}.csv": text(table.assign(label=table.label.replace("a", label))).encode()
        for name, label in LABELS.items()
    }
    files |= {
        "bom.csv": text().encode("utf-8-sig"), "crlf.csv": text().replace("\n", "\r\n").encode(), "upper.CSV": text().encode(),
        "empty column.csv": text(table.assign(f9=None)).encode(), "constant.csv": text(table.assign(f1=1)).encode(),
        "quoted.csv": text(quoting=1).encode(), "blank lines.csv": text().replace("\n", "\n\n").encode(), "index.csv": table.to_csv().encode(),
        "wide.csv": text(frame(60, 3000)).encode(), "blank label.csv": text(table.assign(label=["", *table.label[1:]])).encode(),
        "huge.parquet": as_parquet(table.assign(f0=[2**63] * n).astype({"f0": "uint64"})), "half.parquet": as_parquet(table.astype({"f0": "float16"})),
        "double.parquet": as_parquet(table.assign(f0=[1e300] * 3 + [0.5] * (n - 3))), "bool.parquet": as_parquet(table.assign(f0=[True, False] * 30)),
        "null.parquet": with_column(pa.nulls(n)), "category.parquet": as_parquet(table.astype({"label": "category"})),
        "decimal.parquet": with_column(pa.array([1] * n).cast(pa.decimal128(38, 2))), "ids.parquet": as_parquet(table.assign(track_id=range(n))),
    }  # fmt: skip
    return files


def special(folder: Path) -> list[str]:
    """Paths that are no regular files; returns their names."""
    os.mkfifo(folder / "pipe.csv")
    (folder / "link.parquet").symlink_to("pipe.csv")
    (folder / "zero.csv").symlink_to("/dev/zero")
    (folder / "itself.csv").symlink_to("itself.csv")
    (folder / "folder.csv").mkdir()
    return ["pipe.csv", "link.parquet", "zero.csv", "itself.csv", "folder.csv", "gone.csv", "n" * 300 + ".csv"]


def write_all(folder: Path, *makers: Callable[[], dict[str, bytes]], suffix: str = "") -> list[Path]:
    """Write files; returns their paths."""
    paths = []
    for make in makers:
        for name, data in make().items():
            paths.append(folder / f"{name}{suffix}")
            paths[-1].write_bytes(data)
    return paths
