# SPDX-License-Identifier: Apache-2.0
"""The bpfbox policy language: text in, profiles of the policy model out. docs/bpfbox.md is its reference."""
