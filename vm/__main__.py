# SPDX-License-Identifier: Apache-2.0
import sys

from vm.cli import main

sys.exit(main())
