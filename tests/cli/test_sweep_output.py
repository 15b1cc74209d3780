"""What is printed of a sweep and of its jobs."""

from __future__ import annotations

import re

import pytest

from musicreclass.cli.sweep_output import print_job_end, print_summary, rough_duration
from musicreclass.sweep.record import JobRecord
from tests.conftest import table_overrides


def record(job: int, state: str, error: str = "", **scores: float) -> JobRecord:
    return JobRecord(job, state, (f"seed={job}", "model=mlp"), error, **scores)


def test_the_summary_of_a_sweep(tmp_path, capsys):
    records = [record(0, "done", accuracy=0.5, macro_f1=0.4), record(1, "pruned", "early"), record(2, "failed", "bad")]
    assert print_summary(records[:2], tmp_path, with_jobs=True) == 0
    out = capsys.readouterr().out
    assert "40.0" in out
    assert "seed=1" in out
    assert "model=mlp" not in out  # shared by all jobs
    assert print_summary(records, tmp_path, with_jobs=False) == 1
    head, *failed = capsys.readouterr().out.splitlines()
    assert head.startswith("1 of 3 jobs done, 1 pruned; ")
    assert failed == ["job 2 failed: bad"]


def test_a_job_of_another_process(capsys):
    scored = record(3, "done", accuracy=0.5, macro_f1=0.4)
    for ended in (record(0, "done"), record(1, "pruned", "early"), record(2, "lost", "killed"), scored):
        print_job_end(ended)
    print_job_end(scored, seconds_left=400)
    printed = capsys.readouterr()
    first, second, third, fourth = printed.out.splitlines()
    assert (first, second) == ("job 0: done", "job 1: early")
    assert re.findall(r"[\d.]+", third) == ["3", "50.0", "1", "40.0"]
    assert fourth.startswith(third)
    assert "7 min" in fourth
    assert printed.err.splitlines() == ["musicreclass: job 2 lost: killed"]


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "1 s"), (119, "119 s"), (150, "2 min"), (7300, "2 h")])
def test_rough_durations(seconds, text):
    assert rough_duration(seconds) == text


def test_jobs_report_their_scores_and_the_time_left(run, table):
    result = run("train", "-m", *table_overrides(table), "model=logreg", "seed=1,2")
    assert result.code == 0, result.err
    first, second = (line for line in result.out.splitlines() if re.match(r"job \d: done", line))
    assert re.search(r"macro-F1 [\d.]+; about \d+ s left$", first)
    assert re.search(r"macro-F1 [\d.]+$", second)
