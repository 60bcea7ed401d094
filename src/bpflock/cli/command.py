# SPDX-License-Identifier: Apache-2.0
"""What all commands have in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from bpflock.errors import UsageError, nearest


@dataclass
class App:
    """What the global flags say. They may stand before the command or after it."""

    json: bool = False
    debug: bool = False


def app() -> App:
    """That of the running command."""
    return click.get_current_context().ensure_object(App)


def _set_json(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(App).json = True


def _set_debug(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(App).debug = True


def json_flag() -> click.Option:
    return click.Option(
        ["--json"], is_flag=True, expose_value=False, callback=_set_json, help="print the result as JSON"
    )


def debug_flag() -> click.Option:
    return click.Option(
        ["-D", "--debug"],
        is_flag=True,
        expose_value=False,
        callback=_set_debug,
        help="say what goes on; show tracebacks",
    )


class Command(click.Command):
    """A command with examples in its help, `--debug`, and `--json` if it has a result for programs."""

    def __init__(
        self, *args: Any, examples: Sequence[tuple[str, str]] = (), has_json: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples
        if has_json:
            self.params.append(json_flag())
        # Where --debug is an option of the configuration, too, that one does both.
        if not any(param.name == "debug" for param in self.params):
            self.params.append(debug_flag())

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Options under the heading of their section, in the order in which the sections come up."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                sections.setdefault(getattr(param, "section", "Options"), []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records, col_max=34)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for line, meaning in self.examples:
                    formatter.write_text(f"# {meaning}")
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")


class Group(click.Group):
    """Commands; an unknown one gets the nearest as a hint."""

    command_class = Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.list_commands(ctx) and not ctx.resilient_parsing:
            raise UsageError(
                f"'{ctx.command_path}' has no command '{args[0]}'", hint=nearest(args[0], self.list_commands(ctx))
            )
        return super().resolve_command(ctx, args)


def once(_ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> str | None:
    """For an option with `multiple=True`: refuse it given twice, where click would take the last."""
    if len(values) > 1:
        raise UsageError(f"{param.opts[0]} is given {len(values)} times", hint="give it once")
    return values[0] if values else None
