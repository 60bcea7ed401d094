# SPDX-License-Identifier: Apache-2.0
"""The only code that talks to the kernel: objects, programs, links, pins, maps, the ring buffer, BTF, probes."""
