# SPDX-License-Identifier: Apache-2.0
"""Short runs of what `make fuzz` runs for long."""
