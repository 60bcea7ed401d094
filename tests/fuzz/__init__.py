# SPDX-License-Identifier: Apache-2.0
"""Inputs that nobody thought of: for the policy language, and for what reads tables, states and events."""
