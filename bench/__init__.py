# SPDX-License-Identifier: Apache-2.0
"""What bpflock costs, in instructions: `make bench`. See docs/performance.md.

`bench.build` compiles the workload on the host; `python -m bench` measures in a virtual machine that counts
instructions.
"""
