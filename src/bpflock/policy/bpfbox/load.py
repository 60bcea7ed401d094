# SPDX-License-Identifier: Apache-2.0
"""Policy files to one policy set."""

from collections.abc import Iterable
from pathlib import Path

from bpflock.errors import BpflockError, UsageError, explained
from bpflock.policy.bpfbox.diagnostics import Diagnostic, PolicyError
from bpflock.policy.bpfbox.lower import Lowering, read
from bpflock.policy.model import PolicySet, Profile

DIRECTORY = Path("/etc/bpflock/policy.d")
SUFFIX = ".bpfbox"


def parse(text: str, file: str = "<policy>", path: Path | None = None) -> tuple[Profile, ...]:
    """The profiles of a policy. `path`: where it stands, for its includes. Raises PolicyError."""
    return Lowering().policy(text, file, path)


def policy_files(paths: Iterable[Path]) -> list[Path]:
    """Files as they are given; of a directory those that end in .bpfbox, by name. Raises UsageError if it has none."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(entry for entry in path.iterdir() if entry.suffix == SUFFIX)
            if not inside:
                raise UsageError(f"{path}: no policies", hint=f"their names end in {SUFFIX}")
            found += inside
        else:
            found.append(path)
    return found


def load(paths: Iterable[Path]) -> PolicySet:
    """All profiles of files and directories. Raises PolicyError, which holds the errors of all files, or UsageError."""
    profiles: list[Profile] = []
    diagnostics: list[Diagnostic] = []
    for path in policy_files(paths):
        try:
            found = parse(read(path), str(path), path)
        except PolicyError as error:
            diagnostics += error.diagnostics
            continue
        except Exception as error:  # a file may hold anything
            named = isinstance(error, BpflockError)
            message = explained(error).message
            raise UsageError(message if named else f"{path}: {message}", hint=explained(error).hint) from None
        known = {profile.executable: profile for profile in profiles}
        for profile in found:
            if profile.executable in known:
                message = f"a second profile for {profile.executable}: {known[profile.executable].origin} has one"
                diagnostics.append(Diagnostic(profile.origin, message, "put the rules into one"))
        profiles += found
    if diagnostics:
        raise PolicyError(diagnostics)
    return PolicySet(tuple(profiles))
