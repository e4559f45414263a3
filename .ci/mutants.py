#!/usr/bin/env python3
"""Breaks the code on purpose, one mistake at a time, and reports which test finds each.

Every file in .ci/mutants is a group: which sources its mutants are in, which tests could find them, quickest first, and
the mutants themselves. A mutant replaces a text, which must occur exactly once in its file, by another one. What it
breaks is said in a sentence. If no test can tell it from the original, `equivalent` says why.

The tests run in a copy of the working tree under target/mutants, with a build directory of its own, so that you can go
on working. First they must pass there without a mutant. A mutant is found by the first test that fails, or that does
not end in time. What is committed or not does not matter; what git ignores is not copied.

Nothing is printed on stdout but the results. The exit code is 0 if every mutant was found, except those that are
equivalent; 1 if others survived; 2 if the list does not fit the code any more, if a mutant does not compile, or if the
tests fail without one.

Examples:
  .ci/mutants.py                              all of them
  .ci/mutants.py --only write/run.rs          those of a file
  .ci/mutants.py --only first-run --only route/tie --json
  CARGO_BUILD_JOBS=1 RUST_TEST_THREADS=1 nice .ci/mutants.py      in the background, on one core
"""

import argparse
import fcntl
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib

HOME = pathlib.Path(__file__).resolve().parent.parent
SCRATCH = HOME / "target" / "mutants"
TREE = SCRATCH / "tree"
BUILD = SCRATCH / "build"

FAILED = re.compile(r"^test (.+?) \.\.\. FAILED$")
# What a test that aborts the process leaves behind: its name alone, if there is one thread.
BEGUN = re.compile(r"^test (.+?) \.\.\. (?!ok$|ignored)")

# Our own code is optimised a little, because the tests take longer than the builds, and has no debug information.
# What it depends on is as in other builds, so that it need not be built again.
PROFILE = ["profile.dev.opt-level=1", "profile.dev.debug=false", 'profile.dev.package."*".opt-level=0']
PROFILE = [word for setting in PROFILE for word in ("--config", setting)]

# How long a test may take with a mutant, in multiples of the time that it takes without, and seconds beyond that.
PATIENCE, GRACE = 3, 30


class Stale(Exception):
    """The list does not fit the code."""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="PATTERN", help="those whose group/name or file contains this")
    parser.add_argument("--list", action="store_true", help="print the mutants, and whether they fit the code")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    options = parser.parse_args()

    groups = [read_group(file) for file in sorted((HOME / ".ci" / "mutants").glob("*.toml"))]
    chosen = [
        (group, mutant)
        for group in groups
        for mutant in group["mutants"]
        if not options.only or any(pattern in f"{mutant['name']} {mutant['file']}" for pattern in options.only)
    ]
    if not chosen:
        print(f"no mutant contains {' or '.join(options.only)}; see --list", file=sys.stderr)
        return 2
    stale = {mutant["name"]: str(error) for _, mutant in chosen if (error := fault(mutant))}
    if options.list:
        for _, mutant in chosen:
            print(f"{mutant['name']}: {stale.get(mutant['name'], mutant['breaks'])}")
        return 2 if stale else 0

    # Whoever is told to end ends its tests, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    SCRATCH.mkdir(parents=True, exist_ok=True)
    alone = (SCRATCH / "lock").open("w")
    try:
        fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"another run uses {SCRATCH}; wait for it", file=sys.stderr)
        return 2
    make_copy()
    results, times = [], {}
    for group, mutant in chosen:
        if mutant["name"] in stale:
            result = {"result": "stale", "why": stale[mutant["name"]]}
        else:
            if group["name"] not in times:
                files = {mutant["file"] for other, mutant in chosen if other is group}
                times[group["name"]] = baseline(group, files)
            result = judge(group, mutant, times[group["name"]])
        results.append({"name": mutant["name"], "file": mutant["file"], "breaks": mutant["breaks"], **result})
        if not options.json:
            print(told(results[-1]), flush=True)
    return report(results, options.json)


def read_group(file):
    """Returns a group, whose mutants have its name before theirs."""
    group = tomllib.loads(file.read_text())
    group["name"] = file.stem
    group["mutants"] = [{**mutant, "name": f"{file.stem}/{mutant['name']}"} for mutant in group.pop("mutant")]
    names = [mutant["name"] for mutant in group["mutants"]]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        sys.exit(f"{file}: {', '.join(sorted(twice))} is there twice")
    return group


def fault(mutant):
    """Returns why a mutant cannot be applied; `None` if it can."""
    try:
        mutated((HOME / mutant["file"]).read_text(), mutant)
    except (OSError, Stale) as error:
        return error


def mutated(text, mutant):
    times = text.count(mutant["find"])
    if times != 1:
        raise Stale(f"its text occurs {times} times in {mutant['file']}, and must occur once")
    return text.replace(mutant["find"], mutant["replace"])


def make_copy():
    """Makes the copy equal to the working tree. Only what differs is written, so that cargo builds only that."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=HOME, check=True, stdout=subprocess.PIPE).stdout.decode().split("\0")
    wanted = {name for name in names if (HOME / name).is_file()}
    for file in TREE.rglob("*"):
        if file.is_file() and str(file.relative_to(TREE)) not in wanted:
            file.unlink()
    for name in wanted:
        write(TREE / name, (HOME / name).read_bytes())
    take_dependencies()


def write(file, content):
    if not file.is_file() or file.read_bytes() != content:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def take_dependencies():
    """Takes over the dependencies that were built in the usual place, so that they need not be built here again."""
    usual = HOME / "target" / "debug"
    for part in ("deps", "build", ".fingerprint"):
        (BUILD / "debug" / part).mkdir(parents=True, exist_ok=True)
        for built in (usual / part).glob("*"):
            own = BUILD / "debug" / part / built.name
            if "kvleap" in built.name or own.exists():
                continue
            if built.is_dir():
                shutil.copytree(built, own)
            else:
                os.link(built, own)


def is_for(test, file):
    return file.startswith(tuple(test.get("of", [""])))


def baseline(group, files):
    """Runs the tests that could find mutants of these files, without a mutant. Returns how long each takes."""
    times = {}
    for test in group["tests"]:
        if test["run"] in times or not any(is_for(test, file) for file in files):
            continue
        say(f"{group['name']}: {test['run']}, without a mutant")
        result = run_test(group, test, None)
        if result["result"] != "passed":
            print(f"{result['log']}\n{test['run']} does not pass without a mutant", file=sys.stderr)
            sys.exit(2)
        times[test["run"]] = result["seconds"]
    return times


def judge(group, mutant, times):
    """Runs the tests with a mutant until one fails. Returns what became of it."""
    file = TREE / mutant["file"]
    original = file.read_text()
    file.write_text(mutated(original, mutant))
    begin = time.monotonic()
    try:
        for test in group["tests"]:
            if is_for(test, mutant["file"]):
                say(f"{mutant['name']}: {test['run']}")
                result = run_test(group, test, GRACE + PATIENCE * times[test["run"]])
                if result["result"] != "passed":
                    break
    finally:
        file.write_text(original)
    log = result.pop("log", None)
    if result["result"] == "does not compile":
        print(log, file=sys.stderr)
    result["seconds"] = round(time.monotonic() - begin, 1)
    if result["result"] == "passed":
        result["result"] = "equivalent" if "equivalent" in mutant else "survived"
        result["why"] = mutant.get("equivalent", "no test fails")
    elif "equivalent" in mutant and result["result"] == "found":
        result["why"] = "although it is said to be equivalent"
    return result


def run_test(group, test, limit):
    """Builds and runs some tests. Returns whether they passed, or which failed first."""
    target, _, only = test["run"].partition(" -- ")
    command = ["cargo", "test", "--locked", *PROFILE, "--features", group["features"], *target.split()]
    result, lines = follow([*command, "--no-run"], None)
    if result != 0:
        return {"result": "does not compile", "log": "\n".join(lines)}
    begin = time.monotonic()
    result, lines = follow([*command, "--", *only.split()], limit)
    seconds = time.monotonic() - begin
    if result == 0:
        return {"result": "passed", "seconds": seconds}
    failed = next((match[1] for line in lines if (match := FAILED.match(line))), None)
    begun = next((match[1] for line in lines if (match := BEGUN.match(line))), None)
    how = "which does not end" if result is None else "which aborts"
    by = failed or f"{begun or 'a test'}, {how}"
    return {"result": "found", "target": target, "by": by, "log": "\n".join(lines[-60:])}


def follow(command, limit):
    """Runs a command until it ends, a test fails, or time is up. Returns its exit code, `None` if time is up, and its
    output."""
    settings = {
        "CARGO_TARGET_DIR": str(BUILD),
        # A failed property test need not look for a smaller example, nor remember it.
        "PROPTEST_MAX_SHRINK_ITERS": "0",
        "PROPTEST_DISABLE_FAILURE_PERSISTENCE": "true",
        "RUST_BACKTRACE": "0",
    }
    process = subprocess.Popen(
        command,
        cwd=TREE,
        env={**os.environ, **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
        errors="replace",
    )
    late = threading.Event()

    def end(because=None):
        if because:
            because.set()
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    timer = threading.Timer(limit, end, [late]) if limit else None
    if timer:
        timer.start()
    lines = []
    try:
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if FAILED.match(lines[-1]):
                end()
        code = process.wait()
    finally:
        if timer:
            timer.cancel()
        end()
    return None if late.is_set() else code, lines


def told(result):
    if result["result"] == "found":
        why = f"by {result['by']} in {result['target']}, {result['seconds']} s"
        why += f", {result['why']}" if "why" in result else ""
    else:
        why = result.get("why", f"{result.get('seconds')} s")
    return f"{result['result']:<10} {result['name']}: {why}"


def report(results, as_json):
    counts, by = {}, {}
    for result in results:
        counts[result["result"]] = counts.get(result["result"], 0) + 1
        if result["result"] == "found":
            by[result["target"]] = by.get(result["target"], 0) + 1
    if as_json:
        print(json.dumps({"mutants": results, "counts": counts, "found_by": by}, indent=2))
    else:
        print(f"\n{len(results)} mutants: {', '.join(f'{count} {what}' for what, count in sorted(counts.items()))}")
        print(f"found by: {', '.join(f'{test} {count}' for test, count in sorted(by.items())) or 'none'}")
    contradicted = any(result["result"] == "found" and "why" in result for result in results)
    if contradicted or counts.get("stale") or counts.get("does not compile"):
        return 2
    return 1 if counts.get("survived") else 0


def say(what):
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
