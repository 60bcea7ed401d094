# SPDX-License-Identifier: Apache-2.0
"""A profile applies to a program of this machine, or is an error: links, scripts, patterns, what cannot be executed."""

import shutil
from pathlib import Path

import pytest

from bpflock.confine import resolve as module
from bpflock.confine.resolve import Resolved, inspect, links_resolved, resolve
from bpflock.policy.bpfbox.diagnostics import PolicyError
from bpflock.policy.bpfbox.load import parse
from bpflock.policy.model import PolicySet


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path.resolve()


def script(path: Path, line: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(line)
    path.chmod(0o755)
    return path


def policy(*executables: object) -> PolicySet:
    return PolicySet(parse("\n".join(f'#![profile "{e}"]\nfs("/a", read)' for e in executables), "p.bpfbox"))


def loaded(*executables: object) -> list[Resolved]:
    return resolve(policy(*executables))


def patterns(*executables: object) -> list[str]:
    return [found.profile.executable for found in loaded(*executables)]


def refused(*executables: object) -> str:
    with pytest.raises(PolicyError) as caught:
        resolve(policy(*executables))
    (diagnostic,) = caught.value.diagnostics
    return f"{diagnostic.origin}: {diagnostic.message} ({diagnostic.hint})"


def test_a_program_is_what_it_is() -> None:
    true = Path("/usr/bin/true").resolve()
    (found,) = loaded(true)
    assert (found.profile.executable, found.named, found.notes, found.names) == (str(true), "", (), str(true))


def test_links(place: Path) -> None:
    script(place / "usr/bin/real[1]")
    (place / "bin").symlink_to("usr/bin")
    (place / "usr/bin/link").symlink_to(place / "bin/real[1]")
    real = f"{place}/usr/bin/real\\[1\\]"
    for name in ("bin/real\\[1\\]", "usr/bin/link", "bin/link"):
        (found,) = loaded(f"{place}/{name}")
        assert (found.profile.executable, found.named) == (real, f"{place}/{name}")
        assert found.names == f"{place}/{name} -> {real}"
        assert found.profile.rules == policy(f"{place}/{name}").profiles[0].rules
    assert patterns(f"{place}/bin/r*") == [f"{place}/usr/bin/r*"]
    assert patterns(f"{place}/{{bin,usr/bin}}/[!a-k]*") == [f"{place}/usr/bin/[!abcdefghijk]*"]
    (place / "a").symlink_to("b")
    (place / "b").symlink_to("a")
    assert "leads to itself" in refused(f"{place}/a")
    (place / "dangling").symlink_to("nothing")
    assert f"dangling is a symbolic link to {place}/nothing: {place}/nothing does not exist" in refused(
        f"{place}/dangling"
    )


def test_missing(place: Path) -> None:
    script(place / "sbin/nginx")
    message = refused(f"{place}/sbin/ngnix")
    assert message.startswith(f"p.bpfbox:1:4: {place}/sbin/ngnix does not exist")
    assert f"did you mean '{place}/sbin/nginx'?" in message
    assert f"did you mean '{place}/sbin'?" in refused(f"{place}/sbim/nginx")
    assert "--allow-missing" in refused(f"{place}/sbin/apache2")
    assert "no file matches" in refused(f"{place}/sbin/x*")
    assert "no file matches" in refused(f"{place}/other/**")
    assert "does not exist" in refused(f"{place}/sbin/nginx/x")


def test_missing_ones_can_be_allowed(place: Path) -> None:
    (found,) = resolve(policy(f"{place}/no"), allow_missing=True)
    assert found.profile.executable == f"{place}/no"
    assert found.notes == (f"{place}/no does not exist",)
    (place / "file").touch()
    with pytest.raises(PolicyError, match="not executable"):
        resolve(policy(f"{place}/file"), allow_missing=True)
    with pytest.raises(PolicyError) as caught:
        resolve(policy(f"{place}/a", f"{place}/b"))
    assert [found.origin.line for found in caught.value.diagnostics] == [1, 3]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "neither an ELF file nor a script"),
        ("echo hello\n", "neither an ELF file nor a script"),
        ("#!\n", "names no interpreter"),
        ("#! \t \nx", "names no interpreter"),
        ("#!/no/such/interpreter -x\n", "its interpreter /no/such/interpreter cannot run it"),
        ("#!sh\n", "in the current directory"),
        ("#!/" + "x" * 300, "is too long"),
        ("#!/usr/bin\n", "is a directory"),
    ],
)
def test_what_cannot_be_executed(place: Path, line: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BINFMT", place / "none")
    found = refused(script(place / "file", line))
    assert message in found and "allow-missing" not in found


def test_what_is_no_program(place: Path) -> None:
    assert f"is a directory (a profile is for executables; for all that are directly in it: {place}/*)" in refused(
        place
    )
    assert "not a regular file" in refused("/dev/null")
    file = place / "file"
    file.write_text("#!/bin/sh\n")
    assert f"is not executable (chmod +x {file})" in refused(file)
    file.write_text("data")
    assert "is not executable (name the program that it belongs to)" in refused(file)
    assert "is not executable" in refused(f"{place}/f*")


def test_scripts(place: Path) -> None:
    for line in ("#!/bin/sh\n", "#! /bin/sh\t-e \n", "#!/usr/bin/env python3\n", "#!/bin/sh"):
        file = script(place / "file", line)
        assert patterns(file) == [str(file)]
    inner = script(place / "inner")
    assert patterns(script(place / "outer", f"#!{inner}\n"))
    loop = place / "loop"
    assert "more than 5 deep" in refused(script(loop, f"#!{loop}\n"))


def test_other_formats(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BINFMT", place / "binfmt")
    file = script(place / "x.jar", "PK\3\4 archive")
    assert "neither" in refused(file)
    (place / "binfmt").mkdir()
    (place / "binfmt/register").touch()
    entry = place / "binfmt/jar"
    entry.write_text("enabled\ninterpreter /usr/bin/jexec\nflags: \noffset 0\nmagic 504b0304\nmask ffffffff\n")
    assert patterns(file)
    entry.write_text(entry.read_text().replace("enabled", "disabled"))
    assert "neither" in refused(file)
    entry.write_text("enabled\ninterpreter /usr/bin/jexec\nflags: \nextension .jar\n")
    assert patterns(file)


def test_patterns(place: Path) -> None:
    one, other = script(place / "app/one"), script(place / "elsewhere/other")
    (place / "app/link").symlink_to(other)
    (found,) = loaded(f"{place}/app/*")
    assert found.profile.executable == f"{place}/app/*"
    assert found.notes == (f"{place}/app/link is a symbolic link to {other}, which the pattern does not match",)
    assert "matches only symbolic links out of it" in refused(f"{place}/app/l*")
    (found,) = loaded(f"{place}/app/{{one,two}}")
    assert (found.named, found.notes) == ("", (f"there is no {place}/app/two",))
    assert patterns(f"{place}/app/{{one,link}}") == [f"{{{one},{other}}}"]
    assert patterns(f"{place}/**") == [f"{place}/**"]
    assert "no file matches" in refused(f"{place}/app/{{two,three}}")


def test_two_profiles_for_one_file(place: Path) -> None:
    real = script(place / "real")
    (place / "link").symlink_to("real")
    message = refused(real, place / "link")
    assert message.startswith(f"p.bpfbox:3:4: a second profile for {real}: {real} of p.bpfbox:1:4 is that file too")
    (place / "second").symlink_to("real")
    assert f"{place}/link of p.bpfbox:1:4" in refused(place / "link", place / "second")


def test_nothing_is_refused_to_those_who_only_look(place: Path) -> None:
    real = script(place / "real")
    (place / "link").symlink_to("real")
    wanted = policy(place / "link", place / "no", place)
    assert [p.executable for p in links_resolved(wanted).profiles] == [str(real), f"{place}/no", str(place)]
    assert [fault.missing for fault in inspect(wanted)[1]] == [True, False]


def test_bytes_that_are_no_text(place: Path) -> None:
    shutil.copy("/bin/true", place / "é")
    assert patterns(f"{place}/é") == [f"{place}/é"]
    (place / "binary").write_bytes(b"\0\1\2")
    (place / "binary").chmod(0o755)
    assert refused(place / "binary").endswith("the kernel does not execute it ()")
