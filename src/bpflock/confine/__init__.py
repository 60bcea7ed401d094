# SPDX-License-Identifier: Apache-2.0
"""Policies in the kernel: the engine that enforces them, and what its events mean."""
