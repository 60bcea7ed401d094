# SPDX-License-Identifier: Apache-2.0
"""Policies for tests: generated ones, and the compiled tables read as the kernel reads them."""
