#!/usr/bin/env python3
"""Draws the ratios of a run to each of the other indexes, in a light and a dark theme.

It reads what `kvleap-peers --save` writes. As in the tables, what the harness costs is first taken off the times of
both sides. Bars are where events are applied on a core of their own; ticks are where they are applied on the thread
that looks up. A bar that would be longer than the scale ends in an arrow, and its number says how far it goes.

Example:
  target/dist/kvleap-peers --rounds 3 --save run.json
  ./chart.py run.json ../figures             writes peers-light.svg, peers-dark.svg and data/peers.json
"""

import argparse
import json
import math
import pathlib
import sys
from xml.sax.saxutils import escape

PEERS = {"kv-index": "kv-index 2.0.0", "smg": "smg-radix-tree 0.1.0", "dynamo-compressed": "dynamo-kv-router 1.6.1"}
WORKLOADS = ["conversation", "agentic", "wide", "wide4k", "fragmented", "short", "miss"]

# What is compared: its name, where the figure is, and whether the harness takes part in it.
MEASURES = [
    ("lookup, median", ["lookup_ns", "p50"], True),
    ("lookup, p99", ["lookup_ns", "p99"], True),
    ("apply a block", ["apply_ns_per_block"], True),
    ("bytes per held block", ["bytes_per_held_block"], False),
    ("age of answers, p99", ["beside", "staleness_us", "p99"], False),
]
# Queries that match nothing change neither what is stored nor how.
WITHOUT_MISS = {"apply a block", "bytes per held block", "age of answers, p99"}

THEMES = {
    "light": {"ground": "#FFFFFF", "text": "#1A1D21", "muted": "#5A6169", "line": "#E6E8EB", "axis": "#8A9199"},
    "dark": {"ground": "#14171A", "text": "#E8EAED", "muted": "#A3ABB3", "line": "#2A2F35", "axis": "#6B737C"},
}
AHEAD, BEHIND = "#0077BB", "#D55E00"

WIDTH, NAMES, PANEL, BETWEEN, ROW, BAR, TOP = 960, 150, 250, 14, 18, 11, 140
# The scale goes from ten times behind to ten times ahead, and leaves room for numbers on either side.
ENDS, HALF = 10.0, 250 / 2 - 36


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path, help="what `kvleap-peers --save` writes")
    parser.add_argument("folder", type=pathlib.Path, help="where the figures go")
    options = parser.parse_args()
    try:
        rows = ratios(json.loads(options.run.read_text())["rows"])
    except (OSError, ValueError, KeyError) as error:
        print(f"{options.run}: not a run: {error!r}", file=sys.stderr)
        return 2
    unit = "ours divided by theirs, the harness's floor taken off both; below 1 we are ahead"
    data = options.folder / "data" / "peers.json"
    data.write_text(json.dumps({"unit": unit, "rows": rows}, indent=1) + "\n")
    for theme, colours in THEMES.items():
        (options.folder / f"peers-{theme}.svg").write_text(Picture(rows, colours).drawn())
    return 0


def ratios(rows):
    """Returns a row for each measure and workload, with the ratio to each peer in each mode."""
    found = {(row["workload"], row["mode"], row["system"]): row for row in rows}

    def figure(workload, mode, system, path):
        value = found.get((workload, mode, system))
        for name in path:
            value = value and value.get(name)
        return value

    def ratio(workload, mode, peer, path, floored):
        ours, theirs = (figure(workload, mode, system, path) for system in ("kvleap", peer))
        floor = (figure(workload, mode, "null", path) or 0) if floored else 0
        if ours is None or theirs is None or ours <= floor or theirs <= floor:
            return None
        return round((ours - floor) / (theirs - floor), 3)

    result = []
    for measure, path, floored in MEASURES:
        for workload in WORKLOADS:
            if workload == "miss" and measure in WITHOUT_MISS:
                continue
            row = {"measure": measure, "workload": workload}
            for mode in ("separated", "direct"):
                row[mode] = {peer: ratio(workload, mode, peer, path, floored) for peer in PEERS}
            if any(value is not None for mode in ("separated", "direct") for value in row[mode].values()):
                result.append(row)
    return result


class Picture:
    def __init__(self, rows, colours):
        self.rows, self.colours = rows, colours
        measures = len({row["measure"] for row in rows})
        self.height = TOP + ROW * (len(rows) + measures) + 8 * measures + 16
        self.marks = []

    def drawn(self):
        size = f'width="{WIDTH}" height="{self.height}" viewBox="0 0 {WIDTH} {self.height}"'
        font = 'font-family="Noto Sans, Helvetica, Arial, sans-serif"'
        self.box(0, 0, WIDTH, self.height, self.colours["ground"])
        self.head()
        y = TOP
        for number, row in enumerate(self.rows):
            if number == 0 or self.rows[number - 1]["measure"] != row["measure"]:
                self.text(16, y + 20, row["measure"], 13, "text", weight="bold")
                y += ROW + 8
            self.text(24, y + 12, row["workload"])
            for panel, peer in enumerate(PEERS):
                self.ratio(row["separated"][peer], row["direct"][peer], middle(panel), y)
            y += ROW
        lines = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>', *self.marks, "</svg>"]
        return "\n".join(lines) + "\n"

    def head(self):
        self.text(16, 30, "Beside other indexes: how many times as fast, or as small", 20, "text", weight="bold")
        note = "Bars: events are applied on a core of their own. Ticks: they are applied on the thread that looks up."
        self.text(16, 53, note, 13)
        for x, colour, what in ((16, AHEAD, "ahead of the other"), (170, BEHIND, "behind it")):
            self.box(x, 66, 12, 12, colour)
            self.text(x + 18, 77, what, 13)
        for panel, name in enumerate(PEERS.values()):
            self.text(middle(panel), 104, f"against {name}", 14, "text", "middle", "bold")
            for at, label in ((-HALF, "10x behind"), (0, "equal"), (HALF, "10x ahead")):
                x = middle(panel) + at
                self.text(x, 124, label, 11, anchor="middle")
                colour = self.colours["line" if at else "axis"]
                self.marks.append(
                    f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{self.height - 12}" stroke="{colour}"/>'
                )

    def ratio(self, separated, direct, x, y):
        """Draws a bar and a tick, and behind both the number of the bar."""
        ends = [0.0]
        if separated is not None:
            ends.append(self.bar(separated, x, y))
        if direct is not None:
            end, _ = place(direct)
            self.box(x + end - 1, y + 1, 2, BAR + 4, self.colours["text"])
            ends.append(end)
        if separated is not None:
            times = 1 / separated if separated <= 1 else separated
            words = f"{times:.0f}x" if times >= 9.95 else f"{times:.1f}x"
            self.text(x + max(ends) + 5, y + 12, words + (" behind" if separated > 1 else ""), 11)

    def bar(self, ratio, x, y):
        """Returns where it ends."""
        end, beyond = place(ratio)
        colour = AHEAD if ratio <= 1 else BEHIND
        self.box(x + min(end, 0), y + 3, max(abs(end), 1), BAR, colour)
        if not beyond:
            return end
        tip = end + math.copysign(6, end)
        corners = f"{x + end:.1f},{y + 3} {x + tip:.1f},{y + 3 + BAR / 2} {x + end:.1f},{y + 3 + BAR}"
        self.marks.append(f'<polygon points="{corners}" fill="{colour}"/>')
        return tip

    def text(self, x, y, what, size=12, colour="muted", anchor="start", weight="normal"):
        style = f'font-size="{size}" fill="{self.colours[colour]}" text-anchor="{anchor}" font-weight="{weight}"'
        self.marks.append(f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(what)}</text>')

    def box(self, x, y, wide, high, colour):
        self.marks.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{high:.1f}" fill="{colour}"/>')


def middle(panel):
    return NAMES + panel * (PANEL + BETWEEN) + PANEL / 2


def place(ratio):
    """Returns how far from the middle a ratio stands, and whether that is beyond the scale."""
    times = math.log(1 / ratio) / math.log(ENDS)
    return HALF * max(-1.0, min(1.0, times)), abs(times) > 1


if __name__ == "__main__":
    sys.exit(main())
