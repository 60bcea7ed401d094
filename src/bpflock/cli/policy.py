# SPDX-License-Identifier: Apache-2.0
"""`bpflock policy`"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bpflock.cli.command import Command, Group, app
from bpflock.cli.output import echo, one_line, print_json, table
from bpflock.errors import UsageError

if TYPE_CHECKING:
    from bpflock.confine.engine import Usage
    from bpflock.confine.functions import Probe
    from bpflock.confine.policies import InForce, Loaded, Policies
    from bpflock.confine.services import Service
    from bpflock.policy.bpfbox.diagnostics import PolicyError
    from bpflock.policy.evaluate import Subject
    from bpflock.policy.lint import Finding
    from bpflock.policy.model import Origin, PolicySet, Profile

_FILES = click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))


@click.group(cls=Group, no_args_is_help=False)
def policy() -> None:
    """Confine programs by policies in the bpfbox language.

    A FILE may be a directory: all that ends in .bpfbox there.
    """


@contextlib.contextmanager
def refused() -> Iterator[None]:
    """Show the errors of a policy as a compiler does, then end with status 2."""
    from bpflock.policy.bpfbox.diagnostics import PolicyError

    try:
        yield
    except PolicyError as error:
        if app().json:
            print_json(_errors(error))
        else:
            echo(error.render(), err=True)
        click.get_current_context().exit(2)


def _load(files: tuple[Path, ...]) -> "PolicySet":
    from bpflock.policy.bpfbox.load import load

    with refused():
        return load(files)
    raise AssertionError("refused() ends the command")


def _place(origin: "Origin") -> dict[str, object]:
    return {"file": origin.file, "line": origin.line, "column": origin.column}


def _errors(error: "PolicyError") -> list[dict[str, object]]:
    return [
        {**_place(found.origin), "severity": "error", "message": found.message, "hint": found.hint}
        for found in error.diagnostics
    ]


@policy.command(
    "lint",
    cls=Command,
    has_json=True,
    examples=[
        ("bpflock policy lint nginx.bpfbox", "is it valid, and does it do what it seems to?"),
        ("bpflock policy lint --elsewhere /etc/bpflock/policy.d", "do not look at the files of this machine"),
    ],
)
@click.option("--elsewhere", is_flag=True, help="it is for another machine: do not look for the files it names")
@_FILES
def lint_(files: tuple[Path, ...], elsewhere: bool) -> int:
    """Find mistakes in policies.

    Exit status: 0 nothing but notes, 1 warnings or errors, 2 the policy is not accepted.
    """
    from bpflock.policy.lint import Severity, lint

    loaded = _load(files)
    found = [*lint(loaded, here=not elsewhere), *(() if elsewhere else _of_machine(loaded))]
    found.sort(key=lambda finding: finding.origin)
    if app().json:
        print_json(
            [{**_place(f.origin), "severity": f.severity.value, "message": f.message, "hint": f.hint} for f in found]
        )
    else:
        colours = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
        for finding in found:
            severity = click.style(finding.severity.value, fg=colours[finding.severity])
            echo(f"{one_line(str(finding.origin))}: {severity}: {one_line(finding.message)}")
            if finding.hint:
                echo(f"    hint: {one_line(finding.hint)}")
    return int(any(finding.severity is not Severity.NOTE for finding in found))


def _of_machine(loaded: "PolicySet") -> "list[Finding]":
    """What the executables and functions on this machine have to do with it."""
    from bpflock.confine.resolve import inspect
    from bpflock.policy.lint import Finding, Severity
    from bpflock.policy.model import PolicySet

    resolved, faults = inspect(loaded)
    found = [
        Finding(fault.diagnostic.origin, Severity.NOTE if fault.missing else Severity.ERROR, message, hint)
        for fault in faults
        for message, hint in [(fault.diagnostic.message, fault.diagnostic.hint)]
    ]
    for one in resolved:
        if one.named:
            found.append(Finding(one.profile.origin, Severity.NOTE, f"applies to {one.profile.executable}"))
        found += [Finding(one.profile.origin, Severity.NOTE, note) for note in one.notes]
    return [*found, *_missing_functions(PolicySet(tuple(one.profile for one in resolved)))]


def _missing_functions(loaded: "PolicySet") -> "Iterator[Finding]":
    """Functions of user space that the executables on this machine do not have."""
    from bpflock.policy.lint import Finding, Severity
    from bpflock.policy.symbols import find_places

    for profile in loaded.profiles:
        asked = set()
        for rule in profile.rules:
            for function in rule.functions:
                if function.kernel or function in asked:
                    continue
                asked.add(function)
                try:
                    find_places(profile, function)
                except UsageError as error:
                    yield Finding(rule.origin, Severity.ERROR, error.message, error.hint or "")


@policy.command(
    "show",
    cls=Command,
    examples=[
        ("bpflock policy show nginx.bpfbox", "all its rules, those that it includes too"),
        ("bpflock policy show --origins nginx.bpfbox", "and where each of them comes from"),
    ],
)
@click.option("--origins", is_flag=True, help="file, line and column of each rule")
@_FILES
def show_(files: tuple[Path, ...], origins: bool) -> None:
    """Show policies in one normal form, includes and built-in rules written out."""
    from bpflock.policy.bpfbox.show import show

    echo(show(_load(files), origins=origins))


@policy.command(
    "test",
    cls=Command,
    has_json=True,
    examples=[
        ("bpflock policy test login.bpfbox --access 'fs /etc/shadow read'", "may it?"),
        ("bpflock policy test login.bpfbox --func check_password --access 'fs /etc/shadow read'", "and there?"),
        ("bpflock policy test p.bpfbox --access 'net inet stream connect 10.0.0.1:443'", "other kinds of access"),
    ],
)
@click.option("--profile", "executable", metavar="PATH", help="the executable or the profile; if there are several")
@click.option("--access", required=True, metavar="ACCESS", help="such as 'fs /etc/passwd read', 'signal child sigterm'")
@click.option("--func", "functions", multiple=True, metavar="NAME", help="the thread is in this function")
@click.option("--tainted", is_flag=True, help="the process is tainted")
@_FILES
def test(
    files: tuple[Path, ...], executable: str | None, access: str, functions: tuple[str, ...], tainted: bool
) -> int:
    """Tell what a policy says about one access; the kernel is not asked.

    Exit status: 0 allowed, 1 denied, 2 wrong usage.
    """
    from bpflock.policy.bpfbox.access import parse_access
    from bpflock.policy.bpfbox.show import show_rule
    from bpflock.policy.evaluate import Access, evaluate
    from bpflock.policy.rename import RenameRequest, evaluate_rename

    loaded = _load(files)
    request = parse_access(access)
    subject = _subject(loaded, executable, functions, tainted)
    if isinstance(request, RenameRequest):
        decision = evaluate_rename(loaded, subject, request)
    else:
        decision = evaluate(Access(subject, request))
    verdict = "allowed" if decision.allowed else "denied"
    if app().json:
        rule = decision.rule
        print_json(
            {
                "allowed": decision.allowed,
                "reason": decision.reason.value,
                "audited": decision.audited,
                "taints": decision.taints,
                "rule": {**_place(rule.origin), "text": show_rule(rule)} if rule else None,
            }
        )
    else:
        echo(f"{verdict}: {decision.reason.value}{', and it is told' if decision.audited else ''}")
        if decision.rule:
            echo(one_line(f"{decision.rule.origin}: {show_rule(decision.rule)}"))
    return 0 if decision.allowed else 1


def _subject(loaded: "PolicySet", executable: str | None, functions: tuple[str, ...], tainted: bool) -> "Subject":
    from bpflock.errors import nearest
    from bpflock.policy.evaluate import Subject

    profile = _profile(loaded, executable)
    known = {function for rule in profile.rules for function in rule.functions}
    inside = set()
    for name in functions:
        named = {function for function in known if function.name == name}
        if not named:
            names = sorted({function.name for function in known})
            hint = nearest(name, names) if names else "it has rules for no function"
            raise UsageError(f"the profile has no rules for function '{name}'", hint=hint)
        inside |= named
    path = executable or profile.executable
    return Subject(profile, tainted, frozenset(inside), os.fsencode(path))


def _profile(loaded: "PolicySet", executable: str | None) -> "Profile":
    from bpflock.confine.resolve import links_resolved
    from bpflock.errors import nearest
    from bpflock.policy.evaluate import profile_of

    if executable is None:
        if len(loaded.profiles) != 1:
            names = ", ".join(profile.executable for profile in loaded.profiles[:8])
            raise UsageError("there are several profiles", hint=f"choose one by --profile: {names}")
        return loaded.profiles[0]
    for profile in loaded.profiles:
        if profile.executable == executable:
            return profile
    found = profile_of(loaded, os.fsencode(executable)) or profile_of(
        links_resolved(loaded), os.path.realpath(os.fsencode(executable))
    )
    if found is None:
        known = [profile.executable for profile in loaded.profiles]
        raise UsageError(f"no profile is for {executable}", hint=nearest(executable, known))
    return found


# What is in force.


@contextlib.contextmanager
def policies(*, allow_missing: bool = False) -> "Iterator[Policies]":
    """What is in force in the kernel. `allow_missing`: load profiles of executables too that are not there."""
    from bpflock.cli.lock import open_enforcer
    from bpflock.confine.engine import Engine
    from bpflock.confine.policies import Policies

    with open_enforcer() as enforcer:
        yield Policies(Engine(enforcer), allow_missing)


ALLOW_MISSING = click.option(
    "--allow-missing", is_flag=True, help="load profiles whose executable is not on this machine (yet)"
)


@policy.command(
    "load",
    cls=Command,
    has_json=True,
    examples=[
        ("bpflock policy load nginx.bpfbox", "enforce it, along with what is in force"),
        ("bpflock policy load --only /etc/bpflock/policy.d", "enforce these, and nothing else"),
        ("bpflock policy load --allow-missing nginx.bpfbox", "before nginx is installed"),
    ],
)
@click.option("--only", is_flag=True, help="unload all other profiles in the same step")
@ALLOW_MISSING
@_FILES
def load_(files: tuple[Path, ...], only: bool, allow_missing: bool) -> None:
    """Enforce policies, for processes too that run already; return when they are enforced.

    They replace what was loaded from the same files, and profiles for the same executables. If anything is wrong with
    one of them, nothing is changed. The kernel goes on enforcing: to end it, bpflock policy unload.

    The profile of a symbolic link is loaded for the file that it points to. A profile that applies to no program of
    this machine is an error.
    """
    wanted = _load(files)
    with policies(allow_missing=allow_missing) as inside, refused():
        loaded = inside.replace(wanted) if only else inside.load(wanted)
    if app().json:
        print_json([_loaded(found) for found in loaded])
        return
    for found in loaded:
        replaces = f" (replaces the profile of {found.replaces.file}:{found.replaces.line})" if found.replaces else ""
        echo(one_line(f"{found.resolved.names}: {_mode(found.profile)}{replaces}"))
        for note in found.resolved.notes:
            echo(f"    {click.style('note', fg='yellow')}: {one_line(note)}")


def _loaded(found: "Loaded") -> dict[str, object]:
    return {
        "profile": found.profile.executable,
        "named": found.resolved.named or found.profile.executable,
        "mode": _mode(found.profile),
        "origin": str(found.profile.origin),
        "replaces": str(found.replaces) if found.replaces else None,
        "notes": list(found.resolved.notes),
    }


def _mode(profile: "Profile") -> str:
    return "complain" if profile.complain else "enforce"


@policy.command(
    "unload",
    cls=Command,
    examples=[
        ("bpflock policy unload /usr/sbin/nginx", "confine it no more"),
        ("bpflock policy unload --all", "confine nothing any more"),
    ],
)
@click.option("--all", "everything", is_flag=True, help="all of them")
@click.argument("profiles", nargs=-1, metavar="PROFILE...")
def unload(profiles: tuple[str, ...], everything: bool) -> None:
    """End the confinement of programs. PROFILE is named as in 'bpflock policy list'."""
    if everything == bool(profiles):
        raise UsageError("give profiles, or --all", hint="see 'bpflock policy list'")
    with policies() as inside:
        if profiles:
            inside.unload(profiles)
        elif not inside.unload_all():
            echo("no policy was in force")


@policy.command("list", cls=Command, has_json=True, examples=[("bpflock policy list", "which programs are confined?")])
def list_() -> None:
    """List the profiles in force: how many processes (and threads) run under each, how many accesses it denied, when it
    last denied or reported one, and since when it says what it says.

    Below are the services that listen on the host's network without a policy.

    A file that was replaced after its functions were found there is told: rules within them do not count there until
    the policy is loaded again.
    """
    with policies() as inside:
        found = inside.status()
        functions = {f.profile.executable: inside.functions(f.profile) for f in found}
        uncovered = inside.uncovered() if found else []
    if app().json:
        print_json([_listed(f, functions[f.profile.executable]) for f in found])
        return
    show_profiles(found, {name: len(probes) for name, probes in functions.items()})
    show_uncovered(uncovered)
    for path in sorted({f.path for probes in functions.values() for f in probes if not f.current}):
        echo(
            one_line(f"{path} was replaced: rules within its functions do not count before the policy is loaded again")
        )


def show_profiles(found: "list[InForce]", functions: dict[str, int] | None = None, *, indent: int = 0) -> None:
    """A table of profiles; those that no task runs under stand out. `functions`: how many each depends on."""
    rows = [
        (
            f.profile.executable,
            _mode(f.profile),
            *((str(len(f.profile.rules)), str(functions[f.profile.executable])) if functions is not None else ()),
            _tasks(f.usage),
            str(f.usage.denied),
            _time(f.usage.last),
            _time(f.since),
            str(f.profile.origin),
        )
        for f in found
    ]
    more = ("rules", "functions") if functions is not None else ()
    header = ("profile", "mode", *more, "tasks", "denied", "last", "since", "from")
    right = [*range(2, 2 + len(more)), header.index("denied")]
    lines = table([header, *rows], indent=indent, right=right) if rows else []
    for line, of in zip(lines, [None, *found], strict=bool(rows)):
        unused = of is not None and not of.usage.processes
        echo(click.style(one_line(line), fg="yellow") if unused else one_line(line))


def show_uncovered(services: "Sequence[Service]", *, indent: int = 0) -> None:
    """A table of services that no policy covers, if there are any."""
    if not services:
        return
    rows = [(service.executable, str(service.process), ", ".join(service.addresses)) for service in services]
    echo()
    echo(" " * indent + "services that listen and that no policy covers:")
    for line in table([("executable", "process", "listens on"), *rows], indent=indent + 2):
        echo(one_line(line))


def _tasks(usage: "Usage") -> str:
    processes = len(usage.processes)
    if not processes:
        return "no task"
    return str(processes) if usage.threads == processes else f"{processes} ({usage.threads} threads)"


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else datetime.fromtimestamp(seconds).isoformat(" ", "seconds")


def _listed(found: "InForce", functions: "tuple[Probe, ...]") -> dict[str, object]:
    from bpflock.daemon.report import profile_document

    return {
        **profile_document(found),
        "functions": [
            {"function": f.name, "file": f.path or None, "offset": f.offset, "replaced": not f.current}
            for f in functions
        ],
    }


@policy.command(
    "mode",
    cls=Command,
    examples=[
        ("bpflock policy mode complain /usr/sbin/nginx", "tell what would be denied, and allow it"),
        ("bpflock policy mode enforce /usr/sbin/nginx", "deny it again"),
    ],
)
@click.argument("mode", type=click.Choice(["enforce", "complain"]))
@click.argument("profile")
def mode_(mode: str, profile: str) -> None:
    """Switch a profile in force between enforcing and complaining, for running processes too."""
    with policies() as inside:
        inside.set_mode(profile, complain=mode == "complain")
    echo(one_line(f"{profile}: {mode}"))
