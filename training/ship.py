"""Put a trained model into weights/pocket and its checksums into weights/manifest.toml.

python -m training.ship RUN
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
from pathlib import Path

WEIGHTS = Path(__file__).parent.parent / "weights"
ENTRY = """
[[model]]
name = "pocket"
kind = "diffusion"
path = "pocket"
architecture = "conditional diffusion on Haar wavelet packets (PocketUNet, 6 residual blocks of 256, 9,296,832 parameters)"
licence = "Apache-2.0"
author = "the upscaler project"
source = "training/ of this project; see pocket/README.md"
description = "photographs; takes no prompt; the default"
[model.files]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of the training run")
    run = parser.parse_args().run
    shutil.copytree(run / "pocket", WEIGHTS / "pocket", dirs_exist_ok=True)
    shutil.copy(run / "log.csv", Path(__file__).parent / "log.csv")
    lines = []
    for path in sorted((WEIGHTS / "pocket").rglob("*")):
        if path.suffix in (".json", ".safetensors"):
            content = path.read_bytes()
            name = path.relative_to(WEIGHTS).as_posix()
            lines.append(f'"{name}" = {{ bytes = {len(content)}, sha256 = "{hashlib.sha256(content).hexdigest()}" }}\n')
    manifest = WEIGHTS / "manifest.toml"
    text = re.sub(
        r'\n\[\[model\]\]\nname = "pocket"\n.*?(?=\n\[\[model\]\]|\Z)', "", manifest.read_text("utf-8"), flags=re.DOTALL
    )
    manifest.write_text(text.rstrip("\n") + "\n" + ENTRY + "".join(lines), "utf-8")


if __name__ == "__main__":
    main()
