"""Figures with names in any script."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from musicreclass.evaluation.predictions import Predictions
from musicreclass.report import fonts
from musicreclass.report.figures import confusion_figure, curves_figure, save_figure, spectrogram_figure


def predictions(classes: list[str]) -> Predictions:
    ids = [f"t{i}" for i in range(len(classes))]
    labels = pd.DataFrame({"track_id": ids, "target": classes, "group": None})
    return Predictions.of(ids, np.eye(len(classes)), classes, labels)


@pytest.mark.parametrize("names", [["a/b ro$ck", "Блюз"], ["ジャズ", "摇滚", "가요"], ["\x1b[31mred", "tab\there"]])
def test_names_are_drawn_without_warnings(names, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(fonts, "FALLBACKS", ())  # whatever is installed
    fonts.warn_of.cache_clear()
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        save_figure(confusion_figure(predictions(names), "title"), tmp_path / "a.png")
        save_figure(spectrogram_figure(np.zeros((2, 8, 9)), names[:2], 0.1), tmp_path / "b.png")
    assert len(caplog.records) == (2 if "摇滚" in names else 0)  # one for each set of missing characters


def test_a_font_that_has_the_characters_is_used(monkeypatch):
    """A font of matplotlib replaces one with Chinese characters."""
    real = fonts.characters_of
    monkeypatch.setattr(fonts, "FALLBACKS", ("DejaVu Serif", "DejaVu Sans Mono"))
    monkeypatch.setattr(
        fonts, "characters_of", lambda name: frozenset("摇滚") if name == "DejaVu Sans Mono" else real(name)
    )
    figure = confusion_figure(predictions(["摇滚", "rock"]), "title")
    families = {text.get_text(): text.get_fontfamily() for text in figure.findobj(Text)}
    assert families["摇滚"] == ["DejaVu Sans", "DejaVu Sans Mono"]
    assert "DejaVu Sans Mono" not in families["rock"]


def test_curves_count_epochs_as_the_summary_does():
    rows = [{"epoch": k, "train/loss": 1.0, "valid/loss": 1.0} for k in range(12)]
    for smoothing in (0.0, 0.1):
        (axes,) = curves_figure(rows, best=10, label_smoothing=smoothing).axes
        train, valid, best = axes.get_lines()
        assert [*valid.get_xdata()] == [*range(1, 13)]
        assert [*best.get_xdata()] == [11, 11]
        assert best.get_label() == "best: 11"
        assert ("0.1" in train.get_label()) == bool(smoothing)
        assert valid.get_label() == "valid"
