# SPDX-License-Identifier: Apache-2.0
"""`bpflock lock` and `bpflock unlock`"""

from typing import TYPE_CHECKING

import click

from bpflock.cli import complete
from bpflock.cli.command import Command, app, once
from bpflock.cli.options import PLACES, config_flags, load_config
from bpflock.cli.output import echo, note, print_json, progress
from bpflock.config.options import lock_options
from bpflock.errors import UsageError
from bpflock.locks import LOCKS, find_lock
from bpflock.locks.model import Lock, Settings

if TYPE_CHECKING:
    from bpflock.locks.enforce import Enforcer

# For the help; \b keeps click from filling the lines.
_NAMES = "\b\nLocks and tracers:\n" + "\n".join(f"  {name:<14}{lock.summary}" for name, lock in LOCKS.items())


def open_enforcer(event_buffer: int | None = None) -> "Enforcer":
    """The locks in the kernel; a ring buffer of that many bytes, if there is none yet."""
    from bpflock.locks.enforce import EVENT_BUFFER, Enforcer

    return Enforcer(progress, event_buffer or EVENT_BUFFER)


@click.command(
    cls=Command,
    has_json=True,
    help="Enforce one lock and exit; the kernel goes on enforcing.\n\n"
    "What the flags do not say is taken from the configuration. To end it: bpflock unlock NAME, or "
    f"rm -r /sys/fs/bpf/bpflock/NAME.\n\n{_NAMES}",
    examples=[
        ("bpflock lock kimglock --profile=baseline", "only the host reads or changes the running kernel"),
        ("bpflock lock kimglock --profile=baseline --allow=debugfs", "and containers may open debugfs"),
        ("bpflock lock kmodlock --block=autoload_module", "nobody makes the kernel load modules by itself"),
        ("bpflock lock bpfrestrict", "as the configuration says"),
    ],
)
@click.argument("name", shell_complete=complete.locks)
@click.option("--profile", multiple=True, callback=once, shell_complete=complete.profiles, help="who may do it")
@click.option(
    "--block",
    multiple=True,
    callback=once,
    metavar="LIST",
    shell_complete=complete.operations,
    help="operations denied to everyone",
)
@click.option(
    "--allow",
    multiple=True,
    callback=once,
    metavar="LIST",
    shell_complete=complete.operations,
    help="operations that baseline grants outside the host too",
)
@config_flags("event-buffer", *PLACES)
def lock(name: str, profile: str | None, block: str | None, allow: str | None, **flags: str | None) -> None:
    chosen = find_lock(name)
    names = {option.part: option.name for option in lock_options(chosen)}
    words = {
        part: word for part, word in (("profile", profile), ("block", block), ("allow", allow)) if word is not None
    }
    for part in words:
        if part not in names:
            raise UsageError(f"--{part}: {name} traces only: it has no block or allow list")
    config = load_config(
        flags | {names[part]: word for part, word in words.items()},
        spelling={names[part]: f"--{part}" for part in words},
    )
    wanted = config.locks[name]
    if not wanted.configured:
        note(f"nothing is configured for {name}, so its profile is {wanted.settings.profile}")
    with open_enforcer(config.event_buffer) as enforcer:
        outcome = enforcer.apply(chosen, wanted.settings, wanted.origins)
    if app().json:
        print_json(
            {
                "lock": name,
                "profile": wanted.settings.profile,
                "block": wanted.settings.block,
                "allow": wanted.settings.allow,
                "outcome": outcome.value,
            }
        )
    else:
        echo(f"{name}: {describe(chosen, wanted.settings)} ({outcome.value})")


@click.command(
    cls=Command,
    has_json=True,
    examples=[
        ("bpflock unlock kimglock kmodlock", "end these two"),
        ("bpflock unlock --all", "end everything"),
    ],
)
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete.locks)
@click.option("--all", "everything", is_flag=True, help="all locks and tracers")
def unlock(names: tuple[str, ...], everything: bool) -> None:
    """End the enforcement of locks. One that is not enforced is no error."""
    if everything and names:
        raise UsageError("--all is given together with names", hint="give one or the other")
    if not everything and not names:
        raise UsageError("no lock is named", hint=f"name some of {', '.join(LOCKS)}, or give --all")
    # All names are looked up before anything is removed.
    locks = list(LOCKS.values()) if everything else [find_lock(name) for name in dict.fromkeys(names)]
    with open_enforcer() as enforcer:
        removed = {lock.name: enforcer.remove(lock) for lock in locks}
    if app().json:
        print_json({"removed": [name for name, was in removed.items() if was]})
        return
    for name, was in removed.items():
        # With --all, nobody asked for those that were not enforced.
        if was or not everything:
            echo(f"{name}: no longer enforced" if was else f"{name}: was not enforced")
    if everything and not any(removed.values()):
        echo("nothing was enforced")


def describe(lock: Lock, settings: Settings) -> str:
    """Settings in one line."""
    if lock.is_tracer:
        return f"traces {settings.profile}"
    parts = [settings.profile.value]
    if settings.block:
        parts.append(f"denied to everyone: {', '.join(settings.block)}")
    if settings.allow:
        parts.append(f"granted outside the host: {', '.join(settings.allow)}")
    return "; ".join(parts)
