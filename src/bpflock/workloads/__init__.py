# SPDX-License-Identifier: Apache-2.0
"""Whom a task belongs to."""
