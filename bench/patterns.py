# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.patterns`: what it takes to compile many path patterns. Needs no kernel, and no root.

The policies are invented, after the paths of a Debian system: profiles of a hundred patterns each, a third of them with
wildcards of every kind, most rules of a profile about directories and files of its own, some about what all use.
"""

import argparse
import random
import sys
import time

from bpflock.policy.model import Effect, FileAccess, FileObject, Origin, PolicySet, Profile, Rule
from bpflock.policy.tables import Numbering, compile_policy

PER_PROFILE = 100
MAX_SECONDS = 10
MAX_BYTES = 10 * 10**6

READ, WRITE, EXEC, CREATE = FileAccess.READ, FileAccess.WRITE, FileAccess.EXEC, FileAccess.CREATE
_SYLLABLES = [consonant + vowel for consonant in "bcdfghklmnprstv" for vowel in "aeiou"]
_ENDINGS = ["conf", "json", "xml", "db", "pem", "txt", "html", "js", "css", "py", "so"]

# {app}: a name of the profile's; {name}: any name.
_OWN: list[tuple[str, FileAccess]] = [
    ("/etc/{app}/{name}.conf", READ),
    ("/etc/{app}/{name}.d/*.conf", READ),
    ("/etc/default/{app}-{name}", READ),
    ("/usr/share/{app}/{name}/**", READ),
    ("/usr/share/{app}/{name}/{name}.{{html,css,js}}", READ),
    ("/usr/share/{app}/{name}.{end}", READ),
    ("/usr/share/{app}/{name}/{name}.{end}", READ),
    ("/usr/lib/{app}/plugins/{name}.so", READ | EXEC),
    ("/usr/lib/{app}/{name}/{name}.{end}", READ),
    ("/usr/lib/x86_64-linux-gnu/lib{name}.so.[0-9]*", READ | EXEC),
    ("/usr/libexec/{app}/{name}", READ | EXEC),
    ("/var/lib/{app}/{name}/**", READ | WRITE | CREATE),
    ("/var/lib/{app}/{name}.{end}", READ | WRITE),
    ("/var/cache/{app}/{name}-*.tmp", READ | WRITE | CREATE | FileAccess.RM),
    ("/var/log/{app}/{name}*.log", FileAccess.APPEND | CREATE),
    ("/srv/{app}/{name}/{name}/{name}.{end}", READ),
    ("/srv/{app}/*/{name}.{end}", READ),
    ("/run/{app}/{name}.sock", READ | WRITE),
    ("/home/*/.config/{app}/{name}.{end}", READ | WRITE),
    ("/tmp/{app}-{name}-??????", READ | WRITE | CREATE | FileAccess.RM),
]
_SHARED: list[tuple[str, FileAccess]] = [
    ("/etc/ld.so.cache", READ),
    ("/etc/{{passwd,group,nsswitch.conf,hosts,resolv.conf}}", READ),
    ("/usr/lib/**/*.so*", READ | EXEC),
    ("/usr/share/locale/**", READ),
    ("/usr/share/zoneinfo/**", READ),
    ("/proc/[0-9]*/{{stat,status,maps}}", READ),
    ("/dev/{{null,zero,full,random,urandom}}", READ | WRITE),
    ("/home/*/.cache/**", READ | WRITE | CREATE),
]


def policies(count: int) -> PolicySet:
    """A policy set with so many patterns of files; the same each time."""
    source = random.Random(count)

    def name() -> str:
        return "".join(source.choices(_SYLLABLES, k=source.randint(2, 5)))

    profiles = []
    for number in range(-(-count // PER_PROFILE)):
        app = name()
        rules = []
        for line in range(min(PER_PROFILE, count - number * PER_PROFILE)):
            template, access = _SHARED[line] if line < len(_SHARED) else source.choice(_OWN)
            while "{name}" in template:
                template = template.replace("{name}", name(), 1)
            pattern = template.format(app=app, end=source.choice(_ENDINGS))
            rules.append(Rule(FileObject(pattern, access), Effect.ALLOW, Origin(f"{app}.bpfbox", line + 1, 1)))
        executable = f"/usr/sbin/{app}{number}"
        profiles.append(Profile(executable, tuple(rules), Origin(f"{app}.bpfbox", 1, 1)))
    return PolicySet(tuple(profiles))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.patterns", description=__doc__.splitlines()[0])
    parser.add_argument("counts", nargs="*", type=int, default=[10, 100, 1000, 10_000], help="how many patterns")
    parser.add_argument("--check", action="store_true", help=f"fail over {MAX_SECONDS} s or {MAX_BYTES // 10**6} MB")
    args = parser.parse_args()
    _say("patterns  profiles  seconds   states  labels  automaton MB  rights MB")
    missed = False
    for count in args.counts:
        policy = policies(count)
        numbering = Numbering()
        numbering.extend(policy)
        began = time.process_time()
        tables = compile_policy(policy, numbering, 1)
        seconds = time.process_time() - began
        _say(
            f"{count:8}  {len(policy.profiles):8}  {seconds:7.2f}  {tables.states:7}  "
            f"{len(tables.labels):6}  {len(tables.automaton) / 1e6:12.2f}  {len(tables.rights) / 1e6:9.2f}"
        )
        missed |= seconds > MAX_SECONDS or len(tables.automaton) + len(tables.rights) > MAX_BYTES
    return 1 if args.check and missed else 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
