"""`python -m cnnbook` is the command `cnnbook`."""

import sys

from cnnbook.course.cli import main

sys.exit(main())
