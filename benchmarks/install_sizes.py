"""How large an installation is: the default one and each extra, on disk and as downloads.

Each is installed into a scratch environment of its own; what is on disk afterwards is summed by
package. Downloads are the wheels that pip names for it. Needs a package index, and for the
server's extra a few GB; `--extras` chooses.

    python benchmarks/install_sizes.py [--extras ,client,otel,demo,server] [--index-url URL]
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import venv
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def sizes(extra: str, options: list[str]) -> tuple[float, float, list[tuple[str, float]]]:
    """Return MB on disk, MB downloaded, and MB on disk by package, the largest first.

    An extra's figures hold all that it brings, the default installation too.
    """
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder, "bin", "python"))
        wanted = f"{ROOT}[{extra}]" if extra else str(ROOT)
        report = Path(folder, "report.json")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        pip += ["--no-compile", *options]
        subprocess.run([*pip, "--report", str(report), wanted], check=True)
        downloads = Path(folder, "wheels")
        download = [python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*download, *options, "-d", str(downloads), wanted], check=True)
        fetched = sum(file.stat().st_size for file in downloads.iterdir())
        listed = [item["metadata"]["name"] for item in json.loads(report.read_text())["install"]]
        by_package = sorted(
            ((name, installed(python, name)) for name in listed), key=lambda item: -item[1]
        )
        return sum(size for _, size in by_package), fetched / 1e6, by_package


def installed(python: str, name: str) -> float:
    """Return the MB of a package's own files."""
    code = (
        "import importlib.metadata as m, sys; d = m.distribution(sys.argv[1]); "
        "print(sum(p.stat().st_size for f in d.files or () "
        "if (p := d.locate_file(f)).is_file()))"
    )
    done = subprocess.run([python, "-c", code, name], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1e6


def main() -> None:
    """Install each, and print one line for it and one for each of its largest packages."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--extras", default=",client", help="with commas; empty: the default")
    parser.add_argument("--index-url", help="as pip takes it; by default pip's own")
    options = parser.parse_args()
    index = ["--index-url", options.index_url] if options.index_url else []
    print(
        f"{date.today()}, Python {platform.python_version()}, {sys.platform} {platform.machine()}"
    )
    for extra in options.extras.split(","):
        on_disk, fetched, by_package = sizes(extra, index)
        name = f"stemfirst[{extra}]" if extra else "stemfirst"
        print(
            f"{name}: {len(by_package)} packages, {fetched:.0f} MB fetched, "
            f"{on_disk:.0f} MB on disk"
        )
        for package, size in by_package[:5]:
            print(f"  {package:<28}{size:>8.1f} MB")


if __name__ == "__main__":
    main()
