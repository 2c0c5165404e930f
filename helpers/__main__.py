"""`python -m helpers COMMAND`: see `helpers.commands`."""

import sys

from helpers.commands import main

sys.exit(main())
