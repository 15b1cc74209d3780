"""The search space: which overrides are searched, and over what."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Transformer

from musicreclass.errors import ConfigError, Problem

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def read_space(overrides: Iterable[str]) -> tuple[dict[str, BaseDistribution], dict[str, str]]:
    """Split overrides into those that a search draws and those that are fixed.

    Args:
        overrides: as on the command line; of several for one key the last one counts, and a fixed value before a sweep.

    Returns:
        Optuna's distribution by key, and the fixed value by key. A key includes a leading plus.

    Raises:
        ConfigError: for a sweep that cannot be searched.
    """
    space: dict[str, BaseDistribution] = {}
    fixed: dict[str, str] = {}
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = override.get_key_element()
        if override.is_sweep_override():
            space[key] = distribution(override)
        else:
            fixed[key] = override.get_value_element_as_str()
    return {key: value for key, value in space.items() if key not in fixed}, fixed


def distribution(override: Override) -> BaseDistribution:
    """Optuna's distribution of choice(), range() (its end included), interval() or tag(log, interval()).

    Raises:
        ConfigError: for any other sweep.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value: Any = override.value()
    if isinstance(value, ChoiceSweep) or (isinstance(value, RangeSweep) and value.shuffle):
        choices: list[Any] = list(override.sweep_iterator(transformer=Transformer.encode))
        return CategoricalDistribution(choices)
    if isinstance(value, RangeSweep):
        numbers: list[Any] = [value.start, value.stop, value.step]
        if all(isinstance(number, int) for number in numbers):
            return IntDistribution(numbers[0], numbers[1], step=numbers[2])
        return FloatDistribution(float(numbers[0]), float(numbers[1]), step=float(numbers[2]))
    if isinstance(value, IntervalSweep):
        low, high, log = cast(Any, value.start), cast(Any, value.end), "log" in value.tags
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log)
        return FloatDistribution(float(low), float(high), log=log)
    message = f"{override.input_line}: a search supports choice(), range() and interval()"
    raise ConfigError([Problem(message, "unsupported_sweep", override.key_or_group, str(override.input_line))])


def parse_value(text: str, searched: BaseDistribution) -> Any:
    """The value of an override's text, as the distribution that it was drawn from has it."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if isinstance(searched, CategoricalDistribution):
        return next(choice for choice in searched.choices if str(choice) == text)
    return int(text) if isinstance(searched, IntDistribution) else float(text)
