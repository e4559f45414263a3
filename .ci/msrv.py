"""Checks that no dependency which a user compiles needs a newer compiler than the package promises.

Reads `cargo metadata` for all features; dev-dependencies do not count. A crate without rust-version says nothing.
Fails, too, when Cargo.lock is out of date.
"""

import json
import subprocess
import sys


def version(text):
    """1.89 is 1.89.0."""
    parts = [int(part) for part in text.split(".")]
    return parts + [0] * (3 - len(parts))


def main():
    command = ["cargo", "metadata", "--format-version", "1", "--all-features", "--locked"]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    promised = packages[root]["rust_version"]

    reached, pending = set(), [root]
    while pending:
        package = pending.pop()
        if package not in reached:
            reached.add(package)
            pending += [
                dependency["pkg"]
                for dependency in nodes[package]["deps"]
                if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"])
            ]

    newer = [
        f"{package['name']} {package['version']} needs Rust {package['rust_version']}"
        for package in map(packages.get, sorted(reached))
        if package["rust_version"] and version(package["rust_version"]) > version(promised)
    ]
    print(f"{len(reached) - 1} dependencies, {len(newer)} newer than Rust {promised}")
    return "\n".join(newer) or None


sys.exit(main())
