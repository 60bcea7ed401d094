# SPDX-License-Identifier: Apache-2.0
"""Events: records of the ring buffer are decoded, rendered (logfmt, JSON, a line for people), fanned out to sinks."""
