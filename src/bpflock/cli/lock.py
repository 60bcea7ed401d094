# SPDX-License-Identifier: Apache-2.0
"""`bpflock lock` and `bpflock unlock`"""

from typing import TYPE_CHECKING

import click

from bpflock.cli import complete
from bpflock.cli.command import Command, app, once
from bpflock.cli.options import PLACES, config_flags, load_config
from bpflock.cli.output import echo, note, one_line, print_json, progress
from bpflock.config import Config
from bpflock.config.options import lock_options
from bpflock.errors import UsageError
from bpflock.locks import LOCKS, find_lock
from bpflock.locks.model import Lock, Settings
from bpflock.locks.usblock import USBLOCK, needs_daemon

if TYPE_CHECKING:
    from bpflock.locks.enforce import Enforcer, Outcome

# The options of single locks that are none of all locks, as --rootfslock-except, and whose they are.
PARAMETERS = {
    option.name: name
    for name, lock in LOCKS.items()
    for option in lock_options(lock)
    if option.part in lock.parameter_names()
}

# For the help; \b keeps click from filling the lines.
_NAMES = "\b\nLocks and tracers:\n" + "\n".join(f"  {name:<14}{lock.summary}" for name, lock in LOCKS.items())


def open_enforcer(event_buffer: int | None = None) -> "Enforcer":
    """The locks in the kernel; a ring buffer of that many bytes, if there is none yet."""
    from bpflock.locks.enforce import EVENT_BUFFER, Enforcer

    return Enforcer(progress, event_buffer or EVENT_BUFFER, note)


@click.command(
    cls=Command,
    has_json=True,
    help="Enforce one lock, or the whole configuration, and exit; the kernel goes on enforcing.\n\n"
    f"What the flags do not say is taken from the configuration. To end it: bpflock unlock NAME.\n\n{_NAMES}",
    examples=[
        ("bpflock lock kimglock --profile=baseline", "only the host reads or changes the running kernel"),
        ("bpflock lock kimglock --profile=baseline --allow=debugfs", "and containers may open debugfs"),
        ("bpflock lock kmodlock --block=autoload_module", "nobody makes the kernel load modules by itself"),
        ("bpflock lock bpfrestrict", "as the configuration says"),
        ("bpflock lock --all --level=baseline", "every lock, as the configuration and the level say"),
    ],
)
@click.argument("name", required=False, shell_complete=complete.locks)
@click.option("--all", "everything", is_flag=True, help="all locks and tracers, as 'bpflock run' would")
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
@click.option(
    "--allow-session",
    multiple=True,
    callback=once,
    metavar="active|local[:LIST]",
    shell_complete=complete.sessions,
    help="sessions whose tasks are granted it under baseline and restricted, while 'bpflock run' runs",
)
@config_flags("level", "event-buffer", *PARAMETERS, *PLACES)
def lock(
    name: str | None,
    everything: bool,
    profile: str | None,
    block: str | None,
    allow: str | None,
    allow_session: str | None,
    **flags: str | None,
) -> None:
    given = {"profile": profile, "block": block, "allow": allow, "allow-session": allow_session}
    words = {part: word for part, word in given.items() if word is not None}
    if everything:
        if name or words:
            raise UsageError("--all is given together with what is for one lock", hint="give one or the other")
        _lock_all(load_config(flags))
        return
    if name is None:
        raise UsageError("no lock is named", hint=f"name one of {', '.join(LOCKS)}, or give --all")
    chosen = find_lock(name)
    names = {option.part: option.name for option in lock_options(chosen)}
    for part in words:
        if part not in names and chosen.is_tracer:
            raise UsageError(f"--{part}: {name} traces only: it has no block or allow list")
        if part not in names:
            raise UsageError(f"--{part}: {name} does not decide on tasks: it grants sessions nothing")
    for option, owner in PARAMETERS.items():
        if flags.get(option.replace("-", "_")) is not None and owner != name:
            raise UsageError(f"--{option} is no option of {name}")
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
        print_json(_document(chosen, wanted.settings, outcome))
    else:
        echo(f"{name}: {describe(chosen, wanted.settings)} ({outcome.value})")
    _tell_of_daemon(chosen, wanted.settings)


def _tell_of_daemon(chosen: Lock, settings: Settings) -> None:
    if chosen is USBLOCK and needs_daemon(settings):
        note(
            "usblock: it is the daemon that lets in new devices that are allowed: without 'bpflock run' they stay "
            "blocked, too, until 'bpflock usb allow'"
        )
    if settings.session:
        note(f"{chosen.name}: it is the daemon that knows of sessions: without 'bpflock run' none is granted anything")


def _lock_all(config: Config) -> None:
    """What the daemon does at its start."""
    from bpflock.daemon import plan

    documents = []
    with open_enforcer(config.event_buffer) as enforcer:
        pinned = {status.lock.name: plan.Pinned(status.settings, status.origins) for status in enforcer.status()}
        for step in plan.at_start(config, pinned):
            if step.action is plan.Action.KEEP:
                continue
            outcome = enforcer.apply(step.lock, step.settings, step.origins)
            if app().json:
                documents.append(_document(step.lock, step.settings, outcome))
            else:
                echo(f"{step.lock.name}: {describe(step.lock, step.settings)} ({outcome.value})")
            _tell_of_daemon(step.lock, step.settings)
    if app().json:
        print_json(documents)


def _document(chosen: Lock, settings: Settings, outcome: "Outcome") -> dict[str, object]:
    return {
        "lock": chosen.name,
        "profile": settings.profile,
        "block": settings.block,
        "allow": settings.allow,
        **({"allow-session": str(settings.session)} if settings.session else {}),
        **dict(settings.parameters),
        "outcome": outcome.value,
    }


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
    removed = []
    with open_enforcer() as enforcer:
        for lock in locks:
            was = enforcer.remove(lock)
            if was:
                removed.append(lock.name)
            # With --all, nobody asked for those that were not enforced.
            if not app().json and (was or not everything):
                echo(f"{lock.name}: no longer enforced" if was else f"{lock.name}: was not enforced")
    if app().json:
        print_json({"removed": removed})
    elif everything and not removed:
        echo("nothing was enforced")


def describe(lock: Lock, settings: Settings) -> str:
    """Settings in one line."""
    parts = [f"traces {settings.profile}" if lock.is_tracer else settings.profile.value]
    if settings.block:
        parts.append(f"denied to everyone: {', '.join(settings.block)}")
    if settings.allow:
        parts.append(f"granted outside the host: {', '.join(settings.allow)}")
    if settings.session:
        parts.append(f"granted to sessions: {settings.session}")
    parts += [one_line(f"{name}: {', '.join(words)}") for name, words in settings.parameters]
    return "; ".join(parts)
