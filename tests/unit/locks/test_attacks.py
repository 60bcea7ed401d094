# SPDX-License-Identifier: Apache-2.0
"""The matrix of kernel tests does not shrink unseen: each operation has an attack, or is named here with the reason."""

import subprocess
from pathlib import Path

import pytest

from bpflock.locks import LOCKS

_ATTACK = Path(__file__).resolve().parents[3] / "build" / "attack"
# Hardware and platforms that no guest has, and a protocol that takes a peer.
_WITHOUT = {
    "kimglock": {
        *("efi_test", "acpi_tables", "device_tree", "pcmcia_cis", "mmiotrace", "xmon_wr", "xmon"),
        *("rtas_error_injection", "xen_user_actions"),
        # Of kgdb and kdb, which no guest runs.
        *("dbg_write_kernel", "dbg_read_kernel"),
    },
    "bpfrestrict": {"prog_assoc_struct_ops"},  # of the newest kernels only
    "netlock": {"rds", "nfc", "smc", "kcm", "rxrpc"},  # protocols that Debian's kernels do not load by themselves
}
# Their own tests have devices, and programs: tests/kernel/test_usblock.py, test_execsnoop.py, test_privsnoop.py.
_ELSEWHERE = {"usblock", "execsnoop", "privsnoop"}


@pytest.fixture(scope="module")
def attacked() -> dict[str, set[str]]:
    assert _ATTACK.exists(), "make build compiles it; without it the matrix is empty"
    found: dict[str, set[str]] = {}
    for line in subprocess.run([_ATTACK, "LIST"], check=True, capture_output=True, text=True).stdout.splitlines():
        _, lock, operation = line.split("\t")[:3]
        found.setdefault(lock, set()).add(operation)
    return found


@pytest.mark.parametrize("name", sorted(set(LOCKS) - _ELSEWHERE))
def test_each_operation_has_an_attack(name: str, attacked: dict[str, set[str]]) -> None:
    operations = {operation.name for operation in LOCKS[name].operations}
    assert operations - attacked[name] == _WITHOUT.get(name, set())
