"""`python -m coigw_judge`."""

import sys

from coigw_judge.cli.main import main

sys.exit(main())
