"""The new task: write a dataset, model or encoder of the user's own from the templates in musicreclass/templates/."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

from musicreclass.config.locations import CONF, PACKAGE
from musicreclass.errors import UserError
from musicreclass.storage.writing import writing

TEMPLATES = PACKAGE / "templates"
GROUPS = {"dataset": "data", "model": "model", "encoder": "features"}
KINDS = {"dataset": ("audio", "table"), "model": ("table", "audio"), "encoder": ("audio",)}  # the first is the default
CONFIG_DIR = "my_conf"
SHORT = "trainer.max_epochs=2"  # for networks over recordings, so that a first try takes seconds


@dataclass(frozen=True)
class NewFiles:
    """The files that were written, and what to do next.

    Attributes:
        files: the class, its YAML file, its test; relative to the folder.
        commands: to run in the folder.
    """

    files: tuple[Path, Path, Path]
    commands: tuple[str, ...]


def write_new(what: str, name: str, kind: str | None = None, folder: Path = Path()) -> NewFiles:
    """Write the class, the YAML file and the test of a dataset, model or encoder. Nothing is overwritten.

    Args:
        what: a key of `GROUPS`.
        name: of the option; letters, digits and underscores.
        kind: `audio` or `table`; by default the first of `KINDS`.
        folder: the folder to write to, which is created if it is missing.

    Raises:
        UserError: for an invalid or used name, a kind that there is no template for, or a file that exists.
    """
    kind = kind or KINDS[what][0]
    if kind not in KINDS[what]:
        raise UserError(f"--kind {kind}: must be {' or '.join(KINDS[what])}", "invalid_value", "--kind", kind)
    module = f"{name}_{what}"
    check_name(what, name, module, folder)
    files = (Path(f"{module}.py"), Path(CONFIG_DIR, GROUPS[what], f"{name}.yaml"), Path(f"test_{module}.py"))
    for file in files:
        if (folder / file).exists():
            raise UserError(f"{folder / file}: exists; choose another name or folder", "exists", folder / file)
    values = {"NAME": name, "CLASS": class_name(name), "MODULE": module, "CONFIG": CONFIG_DIR}
    templates = TEMPLATES / (what if what == "encoder" else f"{kind}_{what}")
    with writing(folder, remedy="choose another folder"):
        for file, template in zip(files, ("module.py.txt", "option.yaml", "test.py.txt"), strict=True):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            text = (templates / template).read_text(encoding="utf-8")
            with (folder / file).open("x", encoding="utf-8") as stream:
                stream.write(re.sub(rf"\b({'|'.join(values)})\b", lambda match: values[match[1]], text))
    return NewFiles(files, next_commands(what, name, kind, files[2]))


def check_name(what: str, name: str, module: str, folder: Path) -> None:
    """Raise a UserError for a name that cannot be that of an option and of a module, or is used."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        line = f"{name}: the name must consist of lower-case letters, digits and underscores, and start with a letter"
        raise UserError(line, "invalid_value", "NAME", name)
    if OverridesParser.create().parse_override(f"{GROUPS[what]}={name}").value() != name:
        line = f"{name}: is a value in Hydra's grammar, and no name of an option; choose another name"
        raise UserError(line, "invalid_value", "NAME", name)
    if (CONF / GROUPS[what] / f"{name}.yaml").is_file():
        raise UserError(f"{name}: musicreclass has {GROUPS[what]}={name}; choose another name", "exists", "NAME", name)
    if not (folder / f"{module}.py").exists() and find_spec(module) is not None:
        raise UserError(f"{name}: there is a Python module {module}; choose another name", "exists", "NAME", name)


def class_name(name: str) -> str:
    """The name of a class: `my_moods` as `MyMoods`."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def next_commands(what: str, name: str, kind: str, test: Path) -> tuple[str, ...]:
    """The commands that test the new files and use them."""
    flags = f"--config-dir {CONFIG_DIR}"
    pytest = f"python -m pytest {test}"
    if what == "dataset":
        data, model = f"data={name} data.root=DIR", "logreg" if kind == "table" else f"cnn_small {SHORT}"
        return pytest, f"musicreclass analyze {flags} {data}", f"musicreclass train {flags} {data} model={model}"
    if what == "model":
        data = f"data=demo model={name}" if kind == "table" else f"data=demo_audio model={name} {SHORT}"
        return pytest, f"musicreclass train {flags} {data}"
    return pytest, f"musicreclass train {flags} data=demo_audio features={name} model=logreg"
