# SPDX-License-Identifier: Apache-2.0
"""The daemon: it enforces the configuration, reports events, and answers on a local socket.

All that touches the kernel happens in the main thread. Other threads only write entries and answer clients.
"""
