# SPDX-License-Identifier: Apache-2.0
"""`bpflock cgroup`"""

import click

from bpflock.cli import complete
from bpflock.cli.command import Command, Group, app
from bpflock.cli.output import echo, one_line, print_json, table
from bpflock.errors import UsageError, nearest
from bpflock.locks.model import LOCK_PROFILES

_EXAMPLES = [
    ("bpflock cgroup set system.slice/docker.service allow", "baseline lets what runs in it do everything"),
    ("bpflock cgroup set /sys/fs/cgroup/user.slice restricted", "whatever the locks say"),
    ("bpflock cgroup unset 8821", "by its number, as events show it (cgroupid)"),
]


@click.group(cls=Group, no_args_is_help=False)
def cgroup() -> None:
    """Give cgroups a profile of their own, in place of that of the locks.

    It holds for the cgroups below it, too; the nearest one above a task decides. PATH is a directory under
    /sys/fs/cgroup, with or without that, or the number of a cgroup.
    """


@cgroup.command("set", cls=Command, has_json=True, examples=_EXAMPLES)
@click.argument("path")
@click.argument("profile", shell_complete=complete.profiles)
def set_(path: str, profile: str) -> None:
    """Give the cgroup PATH a profile: allow, baseline or restricted."""
    from bpflock.workloads.cgroup import set_profile

    chosen = LOCK_PROFILES.get(profile.strip().lower())
    if chosen is None:
        raise UsageError(f"there is no profile '{profile}'", hint=nearest(profile, LOCK_PROFILES))
    number = set_profile(path, chosen)
    if app().json:
        print_json({"id": number, "profile": chosen})
    else:
        echo(f"cgroup {number}: {chosen}")


@cgroup.command("unset", cls=Command, has_json=True, examples=_EXAMPLES[2:])
@click.argument("path")
def unset(path: str) -> None:
    """Take the profile of the cgroup PATH away. If it has none, that is no error."""
    from bpflock.workloads.cgroup import unset_profile

    was = unset_profile(path)
    if app().json:
        print_json({"removed": was})
    else:
        echo(f"cgroup {one_line(path)}: {'no profile any more' if was else 'had no profile'}")


@cgroup.command("list", cls=Command, has_json=True, examples=[("bpflock cgroup list", "which cgroups have a profile?")])
def list_() -> None:
    """List the cgroups that have a profile."""
    from bpflock.workloads.cgroup import list_profiles

    entries = list_profiles()
    if app().json:
        print_json({"cgroups": [{"id": entry.id, "path": entry.path, "profile": entry.profile} for entry in entries]})
        return
    if not entries:
        echo("no cgroup has a profile of its own")
        return
    rows = [[str(e.id), e.profile.value, "(gone)" if e.path is None else one_line(e.path)] for e in entries]
    for line in table([["id", "profile", "path"], *rows], right=[0]):
        echo(line)
