"""The model card says what metrics.json says, and follows later scorings."""

from __future__ import annotations

from tests.conftest import only_run, table_overrides


def test_the_card_follows_the_scores(run, finished_run, table, here):
    folder = finished_run("logreg").folder
    card = (folder / "model" / "README.md").read_text()
    assert "Test was not scored." in card
    assert "| valid |" in card
    assert "Classes: blues, jazz, rock." in card
    assert run("evaluate", folder, "--split", "test").code == 0
    card = (folder / "model" / "README.md").read_text()
    assert "| test |" in card
    assert f"musicreclass predict {folder.name}" not in card
    assert (
        run("predict", folder, "--input", here, "--output", "g.csv").code == 2
    )  # its columns are not those of recordings
    (command,) = (line for line in card.splitlines() if line.startswith("musicreclass evaluate"))
    assert run("evaluate", folder, *command.replace("TABLE", str(table)).split()[3:]).code == 0


def test_the_card_of_a_run_with_hostile_names_is_plain_text(run, table, here):
    text = table.read_text().replace("blues", "bl\x1b[31mues")
    table.write_text(text)
    assert run("train", "model=logreg", *table_overrides(table)).code == 0
    assert "\x1b" not in (only_run(here) / "model" / "README.md").read_text()
