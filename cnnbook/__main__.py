"""`python -m cnnbook` is the command `cnnbook`."""

import sys

from cnnbook.cli import main

sys.exit(main())
