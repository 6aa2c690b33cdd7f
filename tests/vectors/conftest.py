"""The tests of ESP find the engine's test hosts where the engine's own tests have them."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "unit"))
