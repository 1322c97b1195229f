"""`python -m tests.bench` is `python tests/bench/run.py`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # the bench's programs find each other beside themselves

from run import main

sys.exit(main())
