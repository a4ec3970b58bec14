"""`python -m coigw_judge.cli`."""

import sys

from coigw_judge.cli.main import main

sys.exit(main())
