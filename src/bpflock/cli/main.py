# SPDX-License-Identifier: Apache-2.0
"""`bpflock`: finds the command, imports its module, and turns every failure into one line and an exit status."""

import importlib
import os
import sys
from collections.abc import Sequence

import click

from bpflock import __version__
from bpflock.cli.command import App, Command, Group, debug_flag, json_flag
from bpflock.cli.output import echo, report
from bpflock.errors import BpflockError, explained, nearest

# Name, what it does, module:object.
_COMMANDS = {
    "check": ("tell what this machine lacks, before anything is loaded", "bpflock.cli.check:check"),
    "run": ("enforce the configuration and report events, until stopped", "bpflock.cli.run:run"),
    "lock": ("enforce one lock, or all, and exit; the kernel goes on enforcing", "bpflock.cli.lock:lock"),
    "unlock": ("end the enforcement of locks", "bpflock.cli.lock:unlock"),
    "status": ("show what is enforced, and what was allowed and denied", "bpflock.cli.status:status"),
    "events": ("show events of the running daemon", "bpflock.cli.events:events"),
    "cgroup": ("give cgroups a profile of their own", "bpflock.cli.cgroup:cgroup"),
    "usb": ("list USB devices, allow or block them", "bpflock.cli.usb:usb"),
    "policy": ("check, load and list the policies that confine programs", "bpflock.cli.policy:policy"),
    "confine": ("run a program under a policy", "bpflock.cli.confine:confine"),
    "explain": ("explain why a policy denied something", "bpflock.cli.explain:explain"),
    "config": ("show the effective configuration", "bpflock.cli.config:config"),
    "completion": ("print the completion script of a shell", "bpflock.cli.completion:completion"),
    "version": ("print the version", "bpflock.cli.version:version"),
}

EXAMPLES = (
    ("bpflock check", "what does this machine lack?"),
    ("bpflock lock kimglock --profile=baseline", "nobody in a container reads or changes the kernel's memory"),
    ("bpflock status", "what is enforced?"),
    ("bpflock run --exec-snoop=all", "enforce /etc/bpflock, report each program that is executed"),
)

_INTERRUPTED = 128 + 2
_BROKEN_PIPE = 128 + 13

# What each command does, by its name.
SUMMARIES = {name: summary for name, (summary, _) in _COMMANDS.items()}


class _Commands(Group):
    """The commands, each imported only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][1].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (summary, _) in _COMMANDS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        Command("bpflock", examples=EXAMPLES).format_epilog(ctx, formatter)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _with_command(args))


def _with_command(args: list[str]) -> list[str]:
    """`bpflock --kimglock-profile=baseline` of the Go implementation is `bpflock run --kimglock-profile=baseline`."""
    for position, arg in enumerate(args):
        if arg in ("-D", "--debug", "--json"):
            continue
        if not arg.startswith("--"):
            break
        # Not before it is needed: most lines begin with a command.
        from bpflock.config.options import OPTIONS

        if arg.removeprefix("--").partition("=")[0] in OPTIONS:
            return [*args[:position], "run", *args[position:]]
        break
    return args


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        echo(f"bpflock {__version__}")
        ctx.exit()


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    invoke_without_command=True,
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="print the version")
@click.pass_context
def cli(ctx: click.Context) -> int:
    """Lock a running Linux machine down, with eBPF programs on LSM hooks."""
    if ctx.invoked_subcommand is None:
        echo(ctx.get_help(), err=True)
        return 2
    return 0


cli.params += [json_flag(), debug_flag()]


def main(args: Sequence[str] | None = None) -> int:
    """Run a command line, sys.argv's unless given; returns the exit status and raises nothing but SystemExit."""
    app = App()
    stdout = sys.stdout
    try:
        if "_BPFLOCK_COMPLETE" in os.environ:
            import bpflock.cli.completion  # noqa: F401 (what it knows of bash)
        status = cli.main(args, prog_name="bpflock", obj=app, standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        return _explain(error)
    except (KeyboardInterrupt, click.Abort):
        return _INTERRUPTED
    except BrokenPipeError:
        return _silence()
    except BpflockError as error:
        if app.debug:
            _print_traceback()
        report(error.message, error.hint)
        return error.status
    except Exception as error:
        return _unexpected(error, app.debug)
    except SystemExit:
        # click exits by itself when the reader of our output is gone, and leaves a wrapper there.
        if sys.stdout is stdout:
            raise
        sys.stdout = stdout
        return _silence()
    return status if isinstance(status, int) else 0


def _explain(error: click.ClickException) -> int:
    """Wrong usage, as click found it."""
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    path = ctx.command_path if ctx else "bpflock COMMAND"
    if isinstance(error, click.NoSuchOption) and ctx:
        known = [name for param in ctx.command.get_params(ctx) for name in param.opts if name.startswith("--")]
        if ctx.parent is None:
            from bpflock.config.options import OPTIONS

            known += [option.flag for option in OPTIONS.values()]  # see _with_command()
        report(f"'{path}' has no option '{error.option_name}'", nearest(error.option_name, known))
    else:
        message = " ".join(error.format_message().split()).removesuffix(".")
        report(message[:1].lower() + message[1:], f"see '{path} --help'")
    return error.exit_code


def _silence() -> int:
    # Python flushes standard output at exit, and would complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _BROKEN_PIPE


def _print_traceback() -> None:
    import traceback  # a third of what importing this module would take

    traceback.print_exc()


def _unexpected(error: Exception, debug: bool) -> int:
    if debug:
        _print_traceback()
    hint = None if debug else "the flag --debug shows where"
    report(explained(error).message, hint)
    return 1


if __name__ == "__main__":
    sys.exit(main())
