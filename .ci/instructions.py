#!/usr/bin/env python3
"""Counts the instructions of a lookup and of an applied block, and compares them with the committed figures.

The time of a lookup depends on whatever else the machine does; its instructions do not. Callgrind, a tool of valgrind,
counts those of benches/instructions.rs, whose input is fixed. Two counts differ only by a few instructions of starting
the program, which rounding hides. Valgrind has no AVX-512, so this counts the code for processors below that.

The committed figures are in benches/instructions-below-avx512.toml. A case fails if it needs over 3% more than its
figure, and also if it needs over 3% less: commit the better figure, so that it cannot be lost again. The file names the
compiler and whatever else decides the counts. Where something of it differs, nothing is compared.

The exit code is 0 if all figures hold, or if nothing is compared; 1 if a figure does not hold; 2 if nothing can be
counted.

Examples:
  .ci/instructions.py              compare
  .ci/instructions.py --json       the same, for a script
  .ci/instructions.py --write      write new figures, to be committed
"""

import argparse
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile
import tomllib

HOME = pathlib.Path(__file__).resolve().parent.parent
FIGURES = pathlib.Path("benches") / "instructions-below-avx512.toml"
TOLERANCE = 0.03
ADVICE = f"run `.ci/instructions.py --write` and commit {FIGURES}"

# The count of a run with the first number of repetitions is subtracted from that of a run with the second. One is twice
# the other, so that a table that doubles when it is full doubles once in between, as in a long run.
REPETITIONS = (8, 16)

# The environment of the program that is counted. With ERMS, the C library copies by an instruction that counts once for
# each byte, so that copies would count far too much.
SETTINGS = {"PATH": os.environ.get("PATH", os.defpath), "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-ERMS"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"write the figures to {FIGURES} instead of comparing")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    options = parser.parse_args()

    try:
        committed = {} if options.write else tomllib.loads((HOME / FIGURES).read_text())
        made_with = environment()
        counted = count_all(build())
    except (OSError, subprocess.CalledProcessError, tomllib.TOMLDecodeError) as error:
        print(f"nothing can be counted: {error}", file=sys.stderr)
        return 2
    before = committed.pop("made_with", {})
    differences = [
        f"  {name}: {before.get(name)} there, {value} here"
        for name, value in made_with.items()
        if before.get(name) != value
    ]
    compared = not options.write and not differences
    cases = compare(committed, counted) if compared else counted
    if options.json:
        print(json.dumps({"made_with": made_with, "compared": compared, "cases": cases}, indent=2))
    else:
        tell(cases)

    if options.write:
        (HOME / FIGURES).write_text(as_toml(made_with, counted))
        say(f"written to {FIGURES}")
        return 0
    if differences:
        say(f"SKIPPED: the figures in {FIGURES} are not compared, because they were made with something else:")
        say("\n".join(differences))
        say(f"To have figures of this machine compared: {ADVICE}")
        return 0
    wrong = [f"{case['unit']} {case['case']}" for case in cases if not case["holds"]]
    if wrong:
        say(f"FAILED: over {TOLERANCE:.0%} more or less than in {FIGURES}, or only on one side: {', '.join(wrong)}")
        say(f"If it is better, or has to be so: {ADVICE}")
    return 1 if wrong else 0


def environment():
    """Returns what decides the counts, besides our own code."""
    version = dict(line.split(": ", 1) for line in output("rustc", "-vV").splitlines()[1:])
    flags = re.search(r"^flags\s*:(.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    flags = set(flags[1].split() if flags else [])
    return {
        "compiler": output("rustc", "--version"),
        "target": version["host"],
        "libc": " ".join(platform.libc_ver()),
        "valgrind": output("valgrind", "--version"),
        "vectors": " ".join(flag for flag in ("avx2", "pclmulqdq") if flag in flags),
    }


def output(*command, cwd=HOME, env=None):
    return subprocess.run(command, cwd=cwd, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def build():
    """Builds the bench as a release is built, without any feature, and returns its path."""
    command = ["cargo", "build", "--release", "--bench", "instructions"]
    messages = output(*command, "--message-format=json-render-diagnostics")
    built = (json.loads(line) for line in messages.splitlines())
    return next(made["executable"] for made in built if made.get("target", {}).get("name") == "instructions")


def count_all(program):
    """Returns every case with its instructions per lookup or per block."""
    cases = [line.split() for line in output(program, "--list").splitlines()]
    return [{"unit": unit, "case": case, "counted": count(program, case)} for unit, case in cases]


def count(program, case):
    (few, done_by_few), (many, done_by_many) = (run(program, case, repetitions) for repetitions in REPETITIONS)
    return round((many - few) / (done_by_many - done_by_few))


def run(program, case, repetitions):
    """Returns how many instructions the program needed, and how many lookups or blocks it did."""
    # The path has the same length everywhere. The program allocates memory for it, which moves what it allocates later,
    # and a copy takes more instructions at some addresses than at others.
    program = pathlib.Path(program)
    with tempfile.NamedTemporaryFile() as profile:
        command = ["valgrind", "--tool=callgrind", "--quiet", f"--callgrind-out-file={profile.name}"]
        done = output(*command, f"./{program.name}", case, str(repetitions), cwd=program.parent, env=SETTINGS)
        total = re.search(r"^totals: (\d+)$", pathlib.Path(profile.name).read_text(), re.MULTILINE)
    return int(total[1]), int(done)


def as_toml(made_with, counted):
    lines = [
        "# Instructions per lookup and per applied block, counted by callgrind, which has no AVX-512.",
        "# `.ci/instructions.py --write` writes this file, and `.ci/instructions.py` compares with it.",
        "",
        "[made_with]",
        *(f'{name} = "{value}"' for name, value in made_with.items()),
    ]
    for unit in dict.fromkeys(case["unit"] for case in counted):
        lines += ["", f"[{unit}]", *(f"{case['case']} = {case['counted']}" for case in counted if case["unit"] == unit)]
    return "\n".join(lines) + "\n"


def compare(committed, counted):
    """Returns every case with its committed figure, and whether that holds. What is only on one side does not hold."""
    figures = {(unit, case): figure for unit, cases in committed.items() for case, figure in cases.items()}
    compared = []
    for case in counted:
        figure = figures.pop((case["unit"], case["case"]), None)
        holds = figure is not None and abs(case["counted"] / figure - 1) <= TOLERANCE
        compared.append({**case, "committed": figure, "holds": holds})
    gone = {"counted": None, "holds": False}
    return compared + [{"unit": u, "case": c, "committed": figure, **gone} for (u, c), figure in figures.items()]


def tell(cases):
    print(f"{'instructions per':<20} {'counted':>8} {'committed':>10} {'change':>8}")
    for case in cases:
        counted, figure = case["counted"], case.get("committed")
        change = f"{counted / figure - 1:+.1%}" if counted and figure else ""
        verdict = "" if case.get("holds", True) else "FAILED"
        line = f"{case['unit']:<6} {case['case']:<13} {counted or '':>8} {figure or '':>10} {change:>8} {verdict}"
        print(line.rstrip())


def say(what):
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
