"""`python -m upscaler_launcher [PATH ...]`."""

import sys

from .main import main

sys.exit(main())
