# SPDX-License-Identifier: Apache-2.0
"""`bpflock config`"""

import click

from bpflock.cli.command import Command, Group, app
from bpflock.cli.options import config_flags, load_config
from bpflock.cli.output import echo, one_line, print_json
from bpflock.config import Config
from bpflock.config.options import lock_options
from bpflock.locks import LOCKS


@click.group(cls=Group, no_args_is_help=False)
def config() -> None:
    """Show the effective configuration."""


@config.command(
    cls=Command,
    has_json=True,
    examples=[
        ("bpflock config show --origin", "each value, and where it came from"),
        ("bpflock config show --config-dir=./bpflock", "is this configuration right? Nothing is loaded"),
        ("bpflock config show --kimglock-profile=baseline", "what if?"),
    ],
)
@click.option("--origin", is_flag=True, help="and where each value came from")
@config_flags()
def show(origin: bool, **flags: str | None) -> None:
    """Show the effective configuration: command line, environment and files put together.

    It takes the same options as 'bpflock run' and loads nothing, so it checks a configuration, too.
    """
    values = _values(load_config(flags))
    if app().json:
        print_json(
            {name: {"value": value, "origin": where} if origin else value for name, (value, where) in values.items()}
        )
        return
    width = max(len(name) for name in values)
    texts = {name: _text(value) for name, (value, _) in values.items()}
    # A long list must not push all origins off the screen.
    column = min(max(len(text) for text in texts.values()), 32)
    for name, (_, where) in values.items():
        line = f"{name:<{width}}  {texts[name]:<{column}}"
        echo(line + click.style(f"  {one_line(where)}", dim=True) if origin else line.rstrip())


def _values(config: Config) -> dict[str, tuple[object, str]]:
    """Value and origin of each option."""
    values: dict[str, tuple[object, str]] = {}
    for name, lock in config.locks.items():
        for option in lock_options(LOCKS[name]):
            values[option.name] = (
                LOCKS[name].value_of(lock.settings, option.part),
                lock.origins[option.part],
            )
    values["level"] = (config.level or "", config.origins["level"])
    values["debug"] = (config.debug, config.origins["debug"])
    values["remove-bpf-programs"] = (config.remove_bpf_programs, config.origins["remove-bpf-programs"])
    values["policy-allow-missing"] = (config.policy_allow_missing, config.origins["policy-allow-missing"])
    values["log-format"] = (config.log_format, config.origins["log-format"])
    values["event-buffer"] = (config.event_buffer, config.origins["event-buffer"])
    values["state-dir"] = (str(config.state_dir), config.origins["state-dir"])
    values["runtime-dir"] = (str(config.runtime_dir), config.origins["runtime-dir"])
    values["config-dir"] = (str(config.config_dir), config.origins["config-dir"])
    return values


def _text(value: object) -> str:
    """As it would be written in a file."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(value) or '""'
    return one_line(str(value)) or '""'
