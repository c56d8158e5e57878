"""`python -m schedulerd` is `schedulerd`."""

import sys

from schedulerd.cli import main

sys.exit(main())
