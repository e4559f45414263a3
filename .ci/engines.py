"""Fetches what tests/judges needs: parts of released engines, and a Python environment to run them.

It fetches them once, to the directory that KVLEAP_ENGINES names, or else to `target/engines`: a virtual environment,
published wheels for their event publishers, and the Python files of two engines for their cache managers. It installs
no engine. A stub replaces the heavy packages that the engines import.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import venv
import zipfile

# The first has positional events and replays without a topic, the second tagged events and replays with one.
PUBLISHERS = ["sglang==0.5.5", "sglang==0.5.23"]
# The tests import private modules of exactly these releases.
MANAGERS = ["sglang==0.5.23", "vllm==0.33.0"]
# The first line is for the publishers. The others are what the cache managers import beyond that.
NEEDS = ["msgspec", "pyzmq", "pydantic", "psutil"]
NEEDS += ["aiohttp", "cachetools", "cbor2", "cloudpickle", "numpy", "openai", "packaging", "pillow"]
NEEDS += ["prometheus_client", "py-cpuinfo", "regex", "requests", "urllib3"]


def main():
    home = pathlib.Path(__file__).resolve().parent.parent
    cache = pathlib.Path(os.environ.get("KVLEAP_ENGINES") or home / "target" / "engines")
    pip = [cache / "venv" / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wanted = "\n".join(PUBLISHERS + NEEDS)
    ready = cache / "ready"
    if not ready.exists() or ready.read_text() != wanted:
        ready.unlink(missing_ok=True)
        shutil.rmtree(cache / "wheels", ignore_errors=True)
        venv.create(cache / "venv", with_pip=True, clear=True)
        subprocess.run([*pip, "install", *NEEDS], check=True)
        for release in PUBLISHERS:
            download(pip, release, cache / "wheels")
        ready.write_text(wanted)
    print(f"publishers of {' and '.join(PUBLISHERS)} in {cache}")
    for release in MANAGERS:
        try:
            print(f"cache manager of {release} in {unpacked(pip, release, cache)}")
        except subprocess.CalledProcessError:
            print(f"SKIPPED: {release} could not be fetched")


def unpacked(pip, release, cache):
    """Returns the directory with a release's Python files, and makes it if needed. It exists only when complete."""
    sources = cache / "sources" / release.replace("==", "-")
    if not sources.exists():
        scratch = cache / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        download(pip, release, scratch / "wheels")
        (wheel,) = (scratch / "wheels").iterdir()
        with zipfile.ZipFile(wheel) as files:
            files.extractall(scratch / "files", [name for name in files.namelist() if name.endswith(".py")])
        sources.parent.mkdir(exist_ok=True)
        (scratch / "files").rename(sources)
        shutil.rmtree(scratch)
    return sources


def download(pip, release, to):
    subprocess.run([*pip, "download", "--no-deps", "--only-binary", ":all:", "--dest", to, release], check=True)


sys.exit(main())
