"""``python -m kdump.tools.xportshow``."""

import sys

from kdump.tools.xportshow.program import main

sys.exit(main())
