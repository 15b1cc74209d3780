"""The documentation: size of the README, links, generated references, language, and commands that are valid."""

from __future__ import annotations

import ast
import re

import pytest

from musicreclass.cli import main as cli
from musicreclass.config.check import Check
from musicreclass.config.joined import join_lists
from musicreclass.config.settings.tasks import TASK_SETTINGS
from musicreclass.config.tree import Tree
from tests.docs.pages import GENERATED, LINK, PAGES, README, ROOT, anchors, arguments, lines, name
from tools.site.command_line import command_line_page, parser_of
from tools.site.configuration import configuration_page, declared_keys

PHRASES = (  # of a private style that this project does not use
    "as good as unset", "at work", "by heart", "dear to compute", "for all that it is", "goes on", "gone on from", "in a few words",
    "in the way", "is to be had", "lies in", "makes for", "reckoned", "tells the rest", "the very result", "told apart", "told of",
    "what came of it", "what it is made of", "wherever", "whoever",
)  # fmt: skip
MACHINERY = re.compile(r"(?<![\w.:/])/(?:home|root|tmp)/")  # absolute paths of somebody


def test_the_readme_fits_a_few_screens():
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert [line for line in text.splitlines() if len(line) > 100] == []
    assert 600 <= sum(bool(re.search(r"\w", word)) for word in text.split()) <= 800
    assert (ROOT / "docs" / "images" / "compare.png").stat().st_size < 200_000


def test_every_link_leads_to_a_file_and_a_heading():
    broken = []
    for page in PAGES:
        for match in LINK.finditer(page.read_text(encoding="utf-8")):
            target = (page.parent / match["path"]).resolve() if match["path"] else page
            exists = target in GENERATED or target.exists()
            if not exists or (match["anchor"] and target.suffix == ".md" and match["anchor"] not in anchors(target)):
                broken.append((name(page), match[0]))
    assert broken == []


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [name(page).removeprefix("docs/") for page in PAGES if name(page).startswith("docs/")]
    assert [page for page in pages if f": {page}\n" not in navigation] == []


def test_the_configuration_reference_has_every_setting():
    page = configuration_page()
    keys = declared_keys()
    assert {"data.split.protocol", "model.dropout", "trainer.batch_size", "callbacks.NAME._target_", "verify"} <= keys
    assert [key for key in keys if f"| `{key}` |" not in page] == []
    for task, settings in TASK_SETTINGS.items():
        assert [key for key in settings.model_fields if f"`{key}`" not in page and f"`{key}." not in page] == [], task
    for group, options in Tree().groups.items():
        assert [option for option in options if f"`{group}={option}`" not in page] == []


def test_the_command_line_reference_has_every_option():
    page = command_line_page()
    for task in cli.TASKS:
        section = page.partition(f"\n## {task}\n")[2].partition("\n## ")[0]
        assert section, task
        actions = [] if task in TASK_SETTINGS else parser_of(task)._actions
        options = [option for action in actions for option in action.option_strings]
        assert [option for option in options if f"`{option}`" not in section] == [], task
    assert "`--multirun`" in page
    assert "`--experimental-rerun`" not in page  # rejected by the tasks


def prose():
    """The text of pages, and the docstrings and messages of modules, by file."""
    texts = {name(page): page.read_text(encoding="utf-8") for page in PAGES}
    for file in sorted([*(ROOT / "musicreclass").rglob("*.py"), *(ROOT / "tools").rglob("*.py")]):
        nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        strings = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        texts[name(file)] = "\n".join(strings)
    return texts


def test_the_language_is_plain():
    pattern = re.compile(r"\b(" + "|".join(PHRASES) + r")\b", re.IGNORECASE)
    hits = [(file, match[0]) for file, text in prose().items() for match in pattern.finditer(text)]
    assert hits == []


def test_no_page_names_a_folder_of_a_developer():
    assert [name(page) for page in PAGES if MACHINERY.search(page.read_text(encoding="utf-8"))] == []


PLACEHOLDERS = re.compile(r"\b(NAME|RUN|\.\.\.|module\.Class|my_module|my_table|mine)\b|\.\.\.|--config-dir")
CONFIGURED = sorted(
    {
        command
        for page in PAGES
        for command in lines(page)
        if command.split()[1] in TASK_SETTINGS and not PLACEHOLDERS.search(command)
    }
)


@pytest.mark.slow
@pytest.mark.parametrize("command", CONFIGURED)
def test_overrides_of_every_page_are_valid(command, here):
    task, *overrides = arguments(command)
    sweeps = "-m" in overrides
    options = [join_lists(override) for override in overrides if override not in ("-m", "--help")]
    problems = Check(Tree(None), task, options, sweeps).problems()
    assert [problem for problem in problems if problem.kind not in ("missing_value", "missing_plugin")] == []


def test_options_of_every_page_are_valid():
    invalid = []
    for page in PAGES:
        for command in lines(page):
            task, *rest = arguments(command)
            if task in TASK_SETTINGS or "..." in command or " [--" in command or rest in (["--help"], []):
                continue
            try:
                parser_of(task).parse_intermixed_args(rest) if task in cli.TASKS else invalid.append(
                    (name(page), command)
                )
            except Exception as error:
                invalid.append((name(page), command, str(error)))
    assert invalid == []
