"""The tests of ESP and of recordings find their helpers where the unit tests have them."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "unit"))
