# SPDX-License-Identifier: Apache-2.0
"""The options of the configuration as flags of commands."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from bpflock.cli import complete
from bpflock.cli.command import app, once
from bpflock.cli.output import note
from bpflock.config import Config, load
from bpflock.config.options import OPTIONS, Kind, Option, Reach, canonical

_Function = TypeVar("_Function", bound=Callable[..., Any])

# Where the configuration is, for the commands that take no more of it on the command line.
PLACES = ("config-dir", "config", "bpf-config-dir")


class ConfigFlag(click.Option):
    """The flag of an option of the configuration."""

    def __init__(self, option: Option) -> None:
        # A switch may be given without its value.
        bare: dict[str, Any] = {"is_flag": False, "flag_value": "yes"} if option.kind is Kind.SWITCH else {}
        default = f"  [{option.default}]" if option.default else ""
        super().__init__(
            [option.flag] if option.name != "debug" else ["-D", option.flag],
            metavar=option.metavar,
            multiple=True,
            callback=once,
            help=option.summary + default,
            hidden=option.reach is Reach.WITHOUT_EFFECT,
            shell_complete=complete.for_option(option),
            **bare,
        )
        self.section = option.lock.name if option.lock else "General options"


def config_flags(*names: str) -> Callable[[_Function], _Function]:
    """Add the flags of the options named, of all if none is named. They arrive as keyword arguments `str | None`."""

    def decorate(function: _Function) -> _Function:
        params = [ConfigFlag(OPTIONS[name]) for name in names or OPTIONS]
        # What click.option() does, too: decorators are applied from the last to the first.
        known: list[click.Parameter] = function.__dict__.setdefault("__click_params__", [])
        known.extend(reversed(params))
        return function

    return decorate


def load_config(flags: Mapping[str, str | None], spelling: Mapping[str, str] | None = None) -> Config:
    """The configuration with what config_flags() passed, its notes printed. Raises BpflockError."""
    given = {canonical(name): word for name, word in flags.items() if word is not None}
    if app().debug:
        given.setdefault("debug", "yes")
    elif "debug" in given:
        app().debug = True
    config = load(given, spelling=spelling)
    for line in config.notes:
        note(line)
    return config
