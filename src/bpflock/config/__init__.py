# SPDX-License-Identifier: Apache-2.0
"""The configuration: every option in all its forms, and where each value came from."""

from bpflock.config.load import load
from bpflock.config.model import Config, LockConfig, LogFormat

__all__ = ["Config", "LockConfig", "LogFormat", "load"]
