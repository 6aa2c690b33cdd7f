"""The fuzzing of messages starts from recordings, which the unit tests' helpers open."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "unit"))
