# SPDX-License-Identifier: Apache-2.0
"""A guided tour: real attacks on a real kernel, each without bpflock and with it. `make run` plays it in a guest."""
