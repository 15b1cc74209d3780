"""The documentation site builds strictly, and the picture of the README can be drawn."""

from __future__ import annotations

import re

import pytest
from PIL import Image

from tests.browser import needs_browser
from tests.docs.pages import ROOT
from tests.run_factory import make_run
from tools import picture


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path):
    build = pytest.importorskip("mkdocs.commands.build", reason="pip install '.[docs]'")
    pytest.importorskip("mkdocstrings")
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True)
    build.build(config)
    page = (tmp_path / "site" / "reference" / "configuration" / "index.html").read_text(encoding="utf-8")
    assert "trainer.batch_size" in page
    home = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    links = re.findall(r'href="([^":#]+)"', home)
    assert [link for link in links if not (tmp_path / "site" / link).exists()] == []


@pytest.mark.slow
@needs_browser
def test_the_picture_is_a_small_image_of_the_page(here):
    for seed in (1, 2):
        make_run(here / "outputs", f"r{seed}", seed=seed)
    (here / "scratch").mkdir()
    picture.draw(here / "outputs", here / "scratch", here / "compare.png")
    assert Image.open(here / "compare.png").size == (picture.WIDTH, picture.HEIGHT)
    assert (here / "compare.png").stat().st_size < 200_000
