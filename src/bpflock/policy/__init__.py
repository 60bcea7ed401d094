# SPDX-License-Identifier: Apache-2.0
"""Policies: one model, the languages that compile to it, path automata, the reference evaluator, the linter.

Nothing here needs a kernel.
"""
