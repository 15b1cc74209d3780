"""The stage `verify=true` of prepare: verify recordings, record the result in the store, and report what is wrong."""

from __future__ import annotations

from collections.abc import Iterator

from musicreclass.config.settings.tasks import PrepareSettings
from musicreclass.data.recordings import AudioData
from musicreclass.data.verification.records import SUMMARY, TABLE, save_table
from musicreclass.data.verification.report import counts, find_problems, full_text, summary_lines
from musicreclass.data.verification.verify import verify
from musicreclass.errors import ConfigError, Problem, VerificationError
from musicreclass.storage.atomic import write_text
from musicreclass.tasks.open_data import create


def verify_data(settings: PrepareSettings) -> Iterator[str | VerificationError]:
    """Verify the recordings of the configured data.

    Yields:
        the lines of the summary; last an error with every problem, if there are any, for the caller to raise when it is
        done.

    Raises:
        ConfigError: if the data has no recordings.
    """
    assert settings.data is not None
    data = source_of(settings)
    table = verify(data, data.read_recordings())
    name = settings.choices["data"].replace("/", "_")
    folder = save_table(table, data.store, name)
    data = source_of(settings)  # which reads the table
    data.on_bad_file, data.max_bad_fraction, data.needs = "skip", 1.0, ()  # they are reported
    data.setup()
    problems = find_problems(table, data.tracks)
    lines = summary_lines(table, problems, data.protocol.split)
    write_text(folder / SUMMARY, full_text(lines, table, problems))
    yield from lines
    yield f"wrote {folder / TABLE}, {SUMMARY}"
    if problems:
        yield VerificationError(f"verification: {counts(problems)}; see {folder / SUMMARY}", problems)


def source_of(settings: PrepareSettings) -> AudioData:
    """The configured source of recordings.

    Raises:
        ConfigError: if the data has no recordings.
    """
    assert settings.data is not None
    data = create(settings.data)
    if not isinstance(data, AudioData):
        name = settings.choices["data"]
        line = f"verify=true: data={name} has features and no recordings; choose data with recordings"
        raise ConfigError([Problem(line, "no_recordings", "verify", name)])
    return data
