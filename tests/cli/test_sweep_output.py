"""What is printed of a sweep and of its jobs."""

from __future__ import annotations

from musicreclass.cli.sweep_output import print_job_end, print_summary
from musicreclass.sweep.record import JobRecord


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
    for ended in (record(0, "done"), record(1, "pruned", "early"), record(2, "lost", "killed")):
        print_job_end(ended)
    printed = capsys.readouterr()
    assert printed.out.splitlines() == ["job 0: done", "job 1: early"]
    assert printed.err.splitlines() == ["musicreclass: job 2 lost: killed"]
