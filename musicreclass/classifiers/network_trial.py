"""A trial of a network before training: one batch forward, and backward through networks of users."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import torch
from torch import nn

from musicreclass.classifiers.model_folder import ModelCard
from musicreclass.config.messages import brief
from musicreclass.config.parse import is_users
from musicreclass.errors import ConfigError, Problem, notices
from musicreclass.plurals import counted

LONGER, LONG = 8, 20  # a clip is too short for a network that accepts one that is longer by these times, and seconds


def try_network(network: nn.Sequential, card: ModelCard) -> None:
    """Pass a silent clip or two tracks of zeros through a network, and back through a user's own, so that what fails is reported before training.

    Args:
        network: as `make_network` returns it; its modes, gradients and the random state are not changed.
        card: gives the shape of the input and the classes.

    Raises:
        ConfigError: if the network rejects its input, does not return a logit for each class, or cannot be trained.
    """
    rows, columns = (
        (1, round(card.clip_seconds * card.sample_rate)) if card.input == "waveform" else (2, len(card.columns))
    )
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.random.fork_rng(devices=[]), torch.set_grad_enabled(is_users(card.target)):
            logits = _try_forward(network, card, torch.zeros(rows, columns))
            _check_logits(logits, rows, card)
            if is_users(card.target):  # back through all of OpenJMLA's encoder takes 10 s on two cores
                _try_backward(network, card, logits)
    finally:
        for module, training in modes:
            module.training = training


def _try_forward(network: nn.Sequential, card: ModelCard, x: torch.Tensor) -> Any:
    """What a network returns for a batch."""
    with torch.no_grad():
        inputs = network[0](x)
    try:
        return network[1:](inputs)
    except Exception as error:
        spectrogram = card.input == "waveform" and card.frontend is not None
        too_short = spectrogram and _accepts(network, x.repeat(1, LONGER + int(LONG / card.clip_seconds)))
        raise _rejected_input(error, card, tuple(inputs.shape), too_short) from error


@torch.no_grad()
def _accepts(network: nn.Sequential, x: torch.Tensor) -> bool:
    try:
        network(x)
    except Exception:
        return False
    return True


def _rejected_input(error: Exception, card: ModelCard, shape: tuple[int, ...], too_short: bool) -> ConfigError:
    """The error of a network that rejects its input, or fails for another reason."""
    reason = f"{type(error).__name__}: {brief(error)}{_line_of(error, card)}"
    if too_short:
        message = f"data.clip_seconds={card.clip_seconds}: too short for {card.target}, which reads spectrograms {shape}: {reason}"
        remedy = "use longer clips or a smaller model.frontend.hop_length"
        return rejected(f"{message}; {remedy}", "clip_length", "data.clip_seconds", card.clip_seconds)
    if card.input == "table":
        message = (
            f"model: {card.target} fails for {counted(shape[1], 'feature')}, in a batch of shape {shape}: {reason}"
        )
        return rejected(message, "wrong_input", "model", card.target)
    if card.frontend is not None:
        message = f"model: {card.target} fails for spectrograms of shape {shape}: {reason}"
        return rejected(message, "wrong_input", "model", card.target)
    message = f"model.frontend: {card.target} fails for waveforms of shape {shape}: {reason}"
    remedy = "if it reads spectrograms, set model.frontend"
    return rejected(f"{message}; {remedy}", "wrong_input", "model.frontend", card.target)


def _line_of(error: Exception, card: ModelCard) -> str:
    """The last line of the user's module that was executed before an error; empty for a network of a library."""
    package = card.target.partition(".")[0]
    frames = traceback.walk_tb(error.__traceback__)
    lines = [
        f" ({relative(frame.f_code.co_filename)}:{line})"
        for frame, line in frames
        if str(frame.f_globals.get("__name__")).partition(".")[0] == package
    ]
    return lines[-1] if lines and is_users(card.target) else ""


def relative(file: str) -> str:
    """A file, relative to the working directory if it is below it."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file


def _check_logits(logits: Any, rows: int, card: ModelCard) -> None:
    """Reject an output of another shape than a logit for each class, and print a notice about probabilities."""
    expected = (rows, card.logits)
    if not isinstance(logits, torch.Tensor):
        message = f"model: the network returns a {type(logits).__name__}"
    elif logits.shape != expected:
        message = f"model: the network returns shape {tuple(logits.shape)}"
    else:
        if rows and (logits >= 0).all() and torch.allclose(logits.sum(dim=1), torch.ones(rows), atol=1e-4):
            notices.warning("model: %s seems to return probabilities; it must return logits", card.target)
        return
    message += f"; expected {expected}: one logit for each class"
    raise rejected(message, "wrong_output", "model", card.target)


def _try_backward(network: nn.Module, card: ModelCard, logits: torch.Tensor) -> None:
    """Backpropagate the sum of the logits; gradients are restored."""
    parameters = list(network.parameters())
    before = [parameter.grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.grad = None
        if logits.requires_grad:
            logits.float().sum().backward()
        trainable = any(parameter.grad is not None for parameter in parameters)
    except Exception as error:
        message = (
            f"model: {card.target} cannot be trained: {type(error).__name__}: {brief(error)}{_line_of(error, card)}"
        )
        raise rejected(message, "failed_backward", "model", card.target) from error
    finally:
        for parameter, gradient in zip(parameters, before, strict=True):
            parameter.grad = gradient
    if not trainable:
        message = f"model: no parameter of {card.target} receives a gradient"
        remedy = "check requires_grad, torch.no_grad and detach in its code"
        raise rejected(f"{message}; {remedy}", "no_gradient", "model", card.target)


def rejected(message: str, kind: str, key: str, value: Any) -> ConfigError:
    """The error of a network that cannot be used."""
    return ConfigError([Problem(message, kind, key, value)])
