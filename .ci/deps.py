"""Checks the compilers, licences and sources of all dependencies, as `cargo metadata` lists them for all features.

No dependency that a user compiles may need a newer compiler than the package promises. A crate without rust-version
passes, and dev-dependencies do not count. Every dependency must have a licence that deny.toml allows, and come from
crates.io. The check also fails if Cargo.lock is out of date.
"""

import json
import pathlib
import re
import subprocess
import sys
import tomllib

REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"


def version(text):
    """Parses a version. A missing last part is 0."""
    parts = [int(part) for part in text.split(".")]
    return parts + [0] * (3 - len(parts))


def reached(metadata):
    """Returns the packages that a user compiles, including the package itself."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found, pending = set(), [metadata["resolve"]["root"]]
    while pending:
        package = pending.pop()
        if package not in found:
            found.add(package)
            pending += [
                dependency["pkg"]
                for dependency in nodes[package]["deps"]
                if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"])
            ]
    return found


def may_be_used(licence, allowed):
    """Returns whether the allowed licences satisfy an SPDX expression. Older crates write a slash for OR."""
    words = {"AND": "and", "OR": "or", "(": "(", ")": ")"}
    exceptions = re.sub(r"\s+WITH\s+", "-WITH-", (licence or "none").replace("/", " OR "))
    parts = [words.get(word) or str(word in allowed) for word in re.findall(r"[()]|[^\s()]+", exceptions)]
    return eval(" ".join(parts))


def main():
    command = ["cargo", "metadata", "--format-version", "1", "--all-features", "--locked"]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    promised = packages[metadata["resolve"]["root"]]["rust_version"]
    rules = tomllib.loads((pathlib.Path(__file__).resolve().parent.parent / "deny.toml").read_text())
    allowed = set(rules["licenses"]["allow"])

    wrong = []
    for package in sorted(reached(metadata)):
        needs = packages[package]["rust_version"]
        if needs and version(needs) > version(promised):
            wrong.append(f"{package} needs Rust {needs}; the package promises {promised}")
    for id, package in packages.items():
        if not may_be_used(package["license"], allowed):
            wrong.append(f"{id} has the licence {package['license']}, which deny.toml does not allow")
        if package["source"] not in (REGISTRY, None):
            wrong.append(f"{id} comes from {package['source']}")
    print(f"{len(packages) - 1} dependencies, {len(wrong)} complaints")
    return "\n".join(wrong) or None


sys.exit(main())
