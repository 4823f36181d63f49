"""``python -m kdump.tools.crashinfo``."""

import sys

from kdump.tools.crashinfo.cli import main

sys.exit(main())
