# SPDX-License-Identifier: Apache-2.0
"""Rules within functions, on a real login program (attacks/login/): they count there, and nowhere else."""

import lzma
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpflock.confine.engine import Engine
from bpflock.confine.policies import Policies, pack
from bpflock.kernel import pins
from bpflock.policy.bpfbox.load import parse
from bpflock.policy.model import PolicySet
from bpflock.policy.symbols import find_function
from bpflock.policy.tables import CompileError

from .tools import ROOT, Cli, pinned

HERE, FILES, NOEXEC = Path("/tmp/login"), Path("/tmp/login-files"), Path("/tmp/login-noexec")
LOGIN, LIBRARY = HERE / "mylogin", HERE / "libusers.so.1"
SHADOW, PASSWD = "/etc/shadow", "/etc/passwd"
EXAMPLE = ROOT / "examples/policy.d/login.bpfbox"
DENIED = "Operation not permitted"
DEEPER = 16  # FRAMES of bpf/policy_task.bpf.h: functions that a thread may be in at a time
# What the tests add to the example.
MORE = f"""
fs("{HERE}/*", read|exec)
#[func "find_user" ("{LIBRARY}")] fs("{FILES}/one", read)
#[func "find_user" ("{LIBRARY}")] #[func "check_password"] fs("{FILES}/two", read)
#[func "look_up_user" ("{LIBRARY}")] fs("{FILES}/three", read)
#[func "add_user"] net(inet, create)
"""


class Login:
    """The program as it runs."""

    def __init__(self, path: Path = LOGIN) -> None:
        self._process = subprocess.Popen(
            [path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/", bufsize=1
        )

    def __enter__(self) -> "Login":
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.communicate()

    def __call__(self, command: str) -> str:
        """Its answer to a command."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command + "\n")
        return self._process.stdout.readline().rstrip("\n")

    def may(self, what: str) -> bool:
        answer = self(what)
        assert answer in ("ok", DENIED), (what, answer)
        return answer == "ok"

    def enter(self, *functions: str) -> None:
        assert self("enter " + " ".join(functions)) == "ok"

    def leave(self) -> None:
        assert self("leave") == "ok"


def text(more: str = MORE) -> str:
    """The policy of the example, for the program where it is here."""
    return EXAMPLE.read_text().replace("/usr/sbin/mylogin", str(LOGIN)) + more


def policy(more: str = MORE) -> PolicySet:
    return PolicySet(parse(text(more), "login.bpfbox"))


@pytest.fixture(scope="module")
def engine(kept_engine: Engine) -> Iterator[Engine]:
    """Without a policy yet."""
    shutil.rmtree(HERE, ignore_errors=True)
    shutil.copytree(ROOT / "build/attack-login", HERE)
    NOEXEC.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec", "tmpfs", NOEXEC], check=True)
    shutil.copy(LIBRARY, NOEXEC)
    FILES.mkdir(exist_ok=True)
    for name in ("one", "two", "three", "four"):
        (FILES / name).write_text(name)
    with Login() as login:
        # What is appended to is also copied up: /etc is an overlay here.
        for what in (f"append {PASSWD}", f"append {SHADOW}", f"in thread read {FILES}/one", "socket"):
            assert login.may(what), "without a policy"
    yield kept_engine
    kept_engine.load(PolicySet())


def confine(engine: Engine) -> None:
    """The policy of the example in force, if it is not."""
    state = engine.state()
    if state is None or state.source != pack(policy().profiles):
        Policies(engine).replace(policy())


@pytest.fixture
def login(engine: Engine) -> Iterator[Login]:
    confine(engine)
    with Login() as found:
        yield found


def test_the_example(login: Login) -> None:
    """Reading in one function, appending in the other; neither in main, nor after the return."""

    def nowhere() -> None:
        for file in (SHADOW, PASSWD):
            assert not login.may(f"read {file}")
            assert not login.may(f"append {file}")

    nowhere()
    for function, appends in (("check_password", False), ("add_user", True)):
        for file in (SHADOW, PASSWD):
            login.enter(function)
            assert login.may(f"read {file}")
            assert login.may(f"append {file}") is appends
            login.leave()
        nowhere()
    login.enter("check_password", "add_user")
    assert login.may(f"append {SHADOW}") and login.may(f"read {SHADOW}")
    login.leave()
    nowhere()


@pytest.mark.parametrize(
    ("where", "allowed"),
    [
        ("here", True),
        ("fork", True),
        ("buffer", True),
        ("pointer", True),
        # Other stacks and other threads are not in the function.
        ("thread", False),
        ("vfork", False),
        ("signal", False),
        ("coroutine", False),
    ],
)
def test_where_the_thread_is(where: str, allowed: bool, login: Login) -> None:
    login.enter("check_password")
    assert login.may(f"in {where} read {SHADOW}") is allowed
    assert login.may(f"read {SHADOW}"), "it is still there"
    login.leave()
    assert not login.may(f"in {where} read {SHADOW}")


def test_longjmp(login: Login) -> None:
    """No return probe fires. Whatever the program does then is not in the function, nor where the old frames still lie
    in memory."""
    login.enter("check_password", "add_user")
    assert login.may(f"append {SHADOW}")
    assert not login.may(f"jump append {SHADOW}")
    login.enter("check_password", "add_user", "find_user")
    assert not login.may(f"jump read {SHADOW}")
    for where in ("here", "fork", "pointer", "buffer"):
        assert not login.may(f"in {where} read {SHADOW}"), where
    login.enter("check_password")
    assert login.may(f"read {SHADOW}")
    login.leave()
    assert not login.may(f"read {SHADOW}")


def test_recursion(login: Login) -> None:
    for depth in (2, DEEPER, DEEPER + 4):
        for _ in range(depth):
            login.enter("check_password")
        for _ in range(depth):
            assert login.may(f"read {SHADOW}")
            login.leave()
        assert not login.may(f"read {SHADOW}")


def test_deeper_than_is_counted(login: Login) -> None:
    """What is entered then is not counted, but it does no harm to what was."""
    login.enter(*["check_password"] * DEEPER)
    login.enter("add_user")
    assert login.may(f"read {SHADOW}")
    assert not login.may(f"append {SHADOW}")
    login.leave()
    login.leave()
    assert not login.may(f"read {SHADOW}")
    login.enter("add_user")
    assert login.may(f"append {SHADOW}")


def test_a_library_and_two_functions(login: Login) -> None:
    assert not login.may(f"read {FILES}/one")
    login.enter("find_user")
    assert login.may(f"read {FILES}/one")
    assert login.may(f"read {FILES}/three"), "another name of the same function"
    assert not login.may(f"read {FILES}/two")
    login.enter("check_password")
    assert login.may(f"read {FILES}/two")
    login.leave()
    assert not login.may(f"read {FILES}/two")


def test_a_file_that_is_replaced_has_no_probes(engine: Engine, cli: Cli) -> None:
    """Until the policy is loaded again: the rights are those outside of any function. Pins go with their probes."""

    def replaced() -> list[bool]:
        (profile,) = cli("policy", "list", "--json").check().json
        return [function["replaced"] for function in profile["functions"]]

    confine(engine)
    assert replaced() == [False] * 4
    shutil.copy(LOGIN, HERE / "new")
    (HERE / "new").rename(LOGIN)
    with Login() as login:
        login.enter("check_password")
        assert not login.may(f"read {SHADOW}")
        assert sorted(replaced()) == [False, False, True, True]
        engine.load(policy(""))
        login.enter("check_password")
        assert login.may(f"read {SHADOW}")
    state = engine.state()
    assert state is not None
    names = {entry.name.partition("__")[0] for entry in (pins.directory(pins.POLICY) / "functions").iterdir()}
    assert names == {probe.pin() for probe in state.probes}
    assert sum(probe.number > 0 for probe in state.probes) == 2


def test_other_objects(login: Login) -> None:
    assert not login.may("socket")
    login.enter("add_user")
    assert login.may("socket")
    login.leave()
    assert not login.may("socket")


def test_before_and_after_the_load(engine: Engine) -> None:
    """Processes that run already, and that are in the function when the rules change."""
    engine.unload()
    with Login() as login:
        login.enter("check_password")
        assert login.may(f"read {SHADOW}")
        engine.load(policy())
        assert not login.may(f"read {SHADOW}"), "when it was entered nobody looked"
        login.enter("check_password")
        assert login.may(f"read {SHADOW}")
        engine.load(policy(MORE + f'#[func "add_user"] fs("{FILES}/four", read)'))
        assert login.may(f"read {SHADOW}")
        assert not login.may(f"append {SHADOW}")
        login.leave()
        login.leave()
        assert not login.may(f"read {SHADOW}")


def test_other_ways_to_name_a_function(engine: Engine) -> None:
    """By offset, by the small debug information of a stripped program, and of the kernel."""
    bare, small, symbols = HERE / "bare", HERE / "small", HERE / "symbols"
    subprocess.run(["strip", "-o", bare, LOGIN], check=True)
    symbols.write_bytes(lzma.compress(LOGIN.read_bytes()))
    subprocess.run(["objcopy", f"--add-section=.gnu_debugdata={symbols}", bare, small], check=True)
    offset = find_function(LOGIN, "check_password").offset
    more = "".join(
        f'#![profile "{path}"]\n#![use base]\nfs("{HERE}/*", read|exec)\n#[func "{name}"] fs("{SHADOW}", read)\n'
        for path, name in ((bare, f"file+{offset:#x}"), (small, "check_password"))
    )
    engine.load(policy(f'{MORE}#[kfunc "__x64_sys_openat"] fs("{FILES}/four", read)\n{more}'))
    for path in (bare, small):
        with Login(path) as login:
            assert not login.may(f"read {SHADOW}")
            login.enter("check_password")
            assert login.may(f"read {SHADOW}")
            assert not login.may(f"read {PASSWD}"), "in the other profile"
    with Login() as login:
        for _ in range(2):
            assert login.may(f"read {FILES}/four")
            assert not login.may(f"in open read {FILES}/four")


@pytest.mark.parametrize(
    ("rule", "message", "hint"),
    [
        ('#[func "check_pasword"] fs("/a", read)', "no function is called 'check_pasword'", "check_password"),
        ('#[func "f" ("libc.so.66")] fs("/a", read)', "no library is called", "libc.so.6"),
        ('#[func "file+0x10"] fs("/a", read)', "no code at offset", "not an address"),
        ('#[kfunc "vfs_opne"] fs("/a", read)', "the kernel has no function 'vfs_opne'", "vfs_open"),
        ('#![profile "/tmp/login/*"]\n#[func "main"] fs("/a", read)', "cannot be told in advance", "without wildcards"),
        ('#![profile "/tmp/login/none"]\n#[func "main"] fs("/a", read)', "no such file", "in place"),
        # The last is refused when the first has its probe already.
        (
            f'#[func "main"] fs("/a", read)\n#[func "find_user" ("{NOEXEC}/{LIBRARY.name}")] fs("/a", read)',
            "Operation not permitted",
            "mount options",
        ),
    ],
)
def test_what_cannot_be_found_is_refused(rule: str, message: str, hint: str, engine: Engine) -> None:
    """With the place of the rule, the reason and the nearest choice; nothing is changed."""
    before, pins_before = engine.state(), pinned()
    lines = text().count("\n") + rule.count("\n")
    with pytest.raises(CompileError, match=f"^login.bpfbox:{lines + 1}:") as error:
        engine.load(policy(MORE + rule))
    assert message in error.value.message
    assert hint in (error.value.hint or "")
    assert engine.state() == before
    assert pinned() == pins_before
