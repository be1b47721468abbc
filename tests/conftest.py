"""What all tests share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
# Miniature counters are named `miniatures:Class`, in this process and in the workers.
sys.path.insert(0, str(HERE))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
