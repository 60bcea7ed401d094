# SPDX-License-Identifier: Apache-2.0
"""bpflock locks a running Linux machine down with eBPF programs on LSM hooks."""

__version__ = "0.1.0"
