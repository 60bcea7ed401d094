# SPDX-License-Identifier: Apache-2.0
"""`python -m tour`, as root in a throw-away machine: exit status 0 if every attack ended as announced, else 1."""

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass

from tour.scenes import CONTAINER, SCENES, Scene
from tour.show import heading, labelled, paint, printable, prose, say, table
from tour.stage import Daemon, Seen, TourError, attack, prepare


@dataclass(frozen=True)
class Result:
    """How a scene ended; no problem: as announced."""

    scene: Scene
    without: Seen
    with_: Seen
    event: str | None
    problems: tuple[str, ...]

    @property
    def reason(self) -> str:
        found = re.search(r' reason=([^"]*)"', self.event or "")
        return found.group(1) if found else "-"

    @property
    def verdict(self) -> str:
        if self.problems:
            return "WRONG"
        return "stopped" if self.scene.stopped else "allowed" if self.scene.reason else "seen"


def main() -> int:
    if os.environ.get("BPFLOCK_VM") != "1" or os.geteuid() != 0:
        sys.stderr.write("tour: it attacks the machine it runs on: use 'make run', which boots a throw-away one\n")
        return 2
    began = time.monotonic()
    say(paint(f"A tour of bpflock on Linux {os.uname().release}", "bold"))
    prose(
        "Every attack is real and is made twice, by root: first without bpflock, then with it. host# is a root "
        f"shell on the host; container# is one in namespaces of its own ({' '.join(CONTAINER)})."
    )
    daemon = Daemon()
    try:
        prepare()
        without = _play_without()
        _start(daemon)
        results = [_play_with(scene, without[scene], daemon, n) for n, scene in enumerate(SCENES, 1)]
    except (TourError, OSError, subprocess.SubprocessError) as error:
        say()
        for line in list(daemon.everything())[-10:]:
            say(printable(line))
        say(paint(f"tour: {error}", "red"))
        return 1
    finally:
        daemon.stop()
    return _summary(results, time.monotonic() - began)


def _prompt(scene: Scene) -> str:
    return "container#" if scene.outside else "host#"


def _play_without() -> dict[Scene, Seen]:
    heading("1. Without bpflock")
    seen: dict[Scene, Seen] = {}
    known: dict[tuple[str, bool], Seen] = {}
    for scene in SCENES:
        key = (scene.command, scene.outside)
        if key not in known:
            known[key] = attack(scene)
            colour = "yellow" if known[key].worked or known[key].refused else "red"
            say(f"{_prompt(scene):>10} {scene.command:<42} {paint(known[key].word, colour)}")
        seen[scene] = known[key]
    return seen


def _start(daemon: Daemon) -> None:
    heading("2. bpflock starts")
    labelled("host#", " ".join(daemon.command) + " >bpflock.log &", "cyan")
    daemon.start(lambda line: labelled("", _message(line), "dim"))


def _message(line: str) -> str:
    """What matters of a line of the daemon's own."""
    found = re.search(r'msg="(.*?)"(?: bpfprog=(\S+))? subsys=daemon', line)
    if not found:
        return line
    return f"{found.group(2)}: {found.group(1)}" if found.group(2) else found.group(1)


def _play_with(scene: Scene, without: Seen, daemon: Daemon, number: int) -> Result:
    if number == 1:
        heading("3. With bpflock")
    say()
    say(f"{paint(f'{number:2}/{len(SCENES)}  {scene.protection}: {scene.title}', 'bold')}")
    labelled("", scene.why, "dim")
    begin = daemon.size()
    if scene.kills_daemon:
        labelled("host#", "kill -9 $(pgrep -f 'bpflock run')", "cyan")
        daemon.kill()
    labelled(_prompt(scene), scene.command, "cyan")
    labelled("without", without.line, "yellow" if without.worked or without.refused else "red")
    seen = attack(scene)
    labelled("with", seen.line, "green" if seen.denied == scene.stopped else "red")
    if scene.kills_daemon:
        labelled("host#", " ".join(daemon.command) + " >>bpflock.log &", "cyan")
        daemon.start(lambda line: labelled("", _message(line), "dim"))
    reason = f'reason={scene.reason}"' if scene.reason else ""
    event = daemon.event(begin, (*scene.event, reason))
    labelled("event", event or "none came", "" if event else "red")
    result = Result(scene, without, seen, event, tuple(_problems(scene, without, seen, event)))
    for problem in result.problems:
        labelled("WRONG", problem, "red")
    return result


def _problems(scene: Scene, without: Seen, seen: Seen, event: str | None) -> list[str]:
    problems = []
    if not without.worked and not without.refused:
        problems.append("it did not work without bpflock, so its denial would prove nothing")
    if scene.stopped and not seen.denied:
        problems.append(f"it should have been denied, but {seen.word}")
    if not scene.stopped and not seen.worked:
        problems.append(f"it should have worked, but was {seen.word}")
    if event is None:
        problems.append(f"no event says so: {' '.join(scene.event)} {scene.reason}".rstrip())
    return problems


def _summary(results: list[Result], seconds: float) -> int:
    heading("4. Summary")
    say()
    rows = [(r.scene.protection, r.scene.short, r.without.word, r.with_.word, r.reason, r.verdict) for r in results]
    colours = ["red" if r.problems else "green" for r in results]
    table(("protection", "attack", "without", "with", "reason", "verdict"), rows, colours)
    say()
    wrong = [r for r in results if r.problems]
    attacks = [r for r in results if r.scene.stopped]
    stopped = sum(not r.problems for r in attacks)
    say(f"{stopped} of {len(attacks)} attacks were stopped as announced; the tour took {seconds:.0f} s.")
    for r in attacks:
        if r.without.refused:
            prose(f"{r.scene.short}: this kernel refuses it without bpflock, too; bpflock is asked before it.")
    for r in wrong:
        say(paint(f"WRONG: {r.scene.protection}: {r.scene.title}: {'; '.join(r.problems)}", "red"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
