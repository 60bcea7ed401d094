# SPDX-License-Identifier: Apache-2.0
"""The command line: one module per command, imported when it is called, and no logic of its own."""
