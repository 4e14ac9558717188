"""Fetch the photographs: the Debian packages named in photographs.toml, unpacked without being installed.

    python -m training.get_data DATA

Needs apt-get and dpkg (Debian, Ubuntu). Anywhere else, fill a folder with photographs of your own: sharp ones, reduced until
they look crisp at 100 %, without traces of compression.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve()
    described = tomllib.loads(Path(__file__).with_name("photographs.toml").read_text("utf-8"))
    packages = folder / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", *described["packages"]], cwd=packages, check=True)
    for package in sorted(packages.glob("*.deb")):
        subprocess.run(["dpkg-deb", "--extract", str(package), str(folder)], check=True)
    share = folder / "usr" / "share"
    missing = [entry["file"] for entry in described["photographs"] if not (share / entry["file"]).is_file()]
    if missing:
        raise SystemExit(f"not in these versions of the packages: {', '.join(missing)}")
    print(f"{len(described['photographs'])} photographs; go on with --photographs {share}")


if __name__ == "__main__":
    main()
