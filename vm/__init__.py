# SPDX-License-Identifier: Apache-2.0
"""Throw-away virtual machines: real Debian kernels under QEMU, for tests, benchmarks and the tour.

Nothing is installed on the host. Kernels are unpacked into a cache (`vm.kernels`), a guest boots
with the host's root file system read-only over 9p (`vm.guest`) and runs one command as root.
"""
