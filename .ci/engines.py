"""Fetches what tests/engines.rs drives: the event publishers of released engines, and a Python to run them.

They go to the directory that KVLEAP_ENGINES names, `target/engines` if it names none, once: a virtual environment and
the wheels as they were published. The wheels are read, not installed: of the engine only one file runs.
"""

import os
import pathlib
import subprocess
import sys
import venv

# Positional events and replays without a topic; tagged events and replays with one.
VERSIONS = ["0.5.5", "0.5.23"]
NEEDS = ["msgspec", "pyzmq", "pydantic", "psutil"]


def main():
    home = pathlib.Path(__file__).resolve().parent.parent
    cache = pathlib.Path(os.environ.get("KVLEAP_ENGINES") or home / "target" / "engines")
    python = cache / "venv" / "bin" / "python"
    if not (cache / "ready").exists():
        venv.create(cache / "venv", with_pip=True, clear=True)
        pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", *NEEDS], check=True)
        for version in VERSIONS:
            subprocess.run([*pip, "download", "--no-deps", "--dest", cache / "wheels", f"sglang=={version}"], check=True)
        (cache / "ready").touch()
    print(f"publishers of {' and '.join(VERSIONS)} in {cache}")


sys.exit(main())
