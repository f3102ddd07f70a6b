"""`python -m genius`."""

import sys

from genius.cli import main

sys.exit(main())
