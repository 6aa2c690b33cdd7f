"""`python -m secd.sec`: see `secd.sec.main`."""

import sys

from secd.sec.main import main

sys.exit(main())
