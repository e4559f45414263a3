"""Measures how much of its HTTP server's own speed the service keeps.

wrk sends queries of 100 blocks by hash to two models of one `kvleap serve`. In the empty model, no worker holds a block
of any query: the service reads and parses the same body, misses the first block and writes an empty answer, which is
what the server alone costs. The two models take turns, so that other load on the machine affects both. With --publish,
everything is measured again while a mock engine publishes, and still compared with the first figures of the empty
model. Needs wrk, and `cargo build --profile dist --features cli`.

    python3 benches/serve.py target/dist/kvleap
    python3 benches/serve.py target/dist/kvleap --publish 400
"""

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import tempfile
import time
import urllib.request

MODELS = ["empty", "bench"]

SCRIPT = """
local bodies = {}
for line in io.lines(os.getenv("BODIES")) do bodies[#bodies + 1] = line end
local next = 0
request = function()
  next = next %% #bodies + 1
  return wrk.format("POST", nil, {["content-type"] = "application/json"}, bodies[next])
end
done = function(summary, latency, requests)
  local bad = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format("RESULT %%f %%f %%f %%d\\n", summary.requests / summary.duration * 1e6,
    latency:percentile(50), latency:percentile(99), bad + summary.errors.status))
end
""".replace("%%", "%")


def post(url, path, body):
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def fill(url, engines, prompts):
    """Stores prompts of 100 blocks, of which the first 20 are a system prompt, and returns their hashes.

    Every engine holds a fifth of the prompts.
    """
    pick = random.Random(0)
    hashes = lambda count: [pick.getrandbits(63) for _ in range(count)]
    systems = [hashes(20) for _ in range(8)]
    chains = [pick.choice(systems) + hashes(80) for _ in range(prompts)]
    for engine in range(engines):
        events = []
        for number, chain in enumerate(chains):
            if pick.random() < 0.2:
                blocks = [{"block_hash": number * 1000 + at, "tokens_hash": block} for at, block in enumerate(chain)]
                stored = {"stored": {"parent_hash": None, "blocks": blocks}}
                events.append({"worker_id": engine, "event": {"event_id": number, "data": stored}})
        for at in range(0, len(events), 500):
            body = {"model_name": "bench", "block_size": 16, "events": events[at : at + 500]}
            outcome = post(url, "/events", body)
            assert not outcome["rejected"] and not outcome["skipped"], outcome
    other = {"stored": {"parent_hash": None, "blocks": [{"block_hash": 0, "tokens_hash": 0}]}}
    events = [{"worker_id": 0, "event": {"event_id": 0, "data": other}}]
    assert post(url, "/events", {"model_name": "empty", "block_size": 16, "events": events})["applied"] == 1
    return chains


def measure(url, model, options, environment):
    environment = dict(environment, BODIES=environment["BODIES"] + model)
    command = ["wrk", "-t1", f"-c{options.connections}", f"-d{options.seconds}s", "-s", environment["SCRIPT"]]
    command.append(url + "/query_by_hash")
    output = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout
    rate, middle, tail, errors = re.search(r"RESULT (\S+) (\S+) (\S+) (\d+)", output).groups()
    assert errors == "0", output
    return float(rate), float(middle), float(tail)


def serve(options):
    command = [options.kvleap, "serve", "--listen", "127.0.0.1:0", "--log", "json"]
    if options.threads:
        command += ["--threads", str(options.threads)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in server.stderr:
        fields = json.loads(line)["fields"]
        if fields["message"] == "listening":
            return server, "http://" + fields["address"]
    raise SystemExit("the service did not start")


def publish(options, url):
    """Starts a mock engine and registers its ranks. The engine's own work takes its part of the cores, too."""
    at = ["--endpoint", "tcp://127.0.0.1:15557", "--replay-endpoint", "tcp://127.0.0.1:15657"]
    load = ["--ranks", str(options.ranks), "--rate", str(options.publish)]
    quiet = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    engine = subprocess.Popen([options.kvleap, "publish"] + at + load, **quiet)
    engine.stdout.readline()  # printed once the sockets are bound
    for rank in range(options.ranks):
        post(url, "/register", {
            "instance_id": 1000, "dp_rank": rank, "model_name": "bench", "block_size": 16,
            "endpoint": f"tcp://127.0.0.1:{15557 + rank}", "replay_endpoint": f"tcp://127.0.0.1:{15657 + rank}",
        })
    return engine


def ingested(url):
    with urllib.request.urlopen(url + "/workers") as answer:
        listeners = [rank for worker in json.load(answer) for rank in worker["listeners"].values()]
    return sum(rank["counts"]["blocks"] for rank in listeners if rank["endpoint"])


def rounds(options, url, environment):
    """Measures the models in turns; returns the medians of each, and the blocks ingested per second meanwhile."""
    before, began = ingested(url), time.monotonic()
    runs = {model: [] for model in MODELS}
    for _ in range(options.rounds):
        for model in MODELS:
            runs[model].append(measure(url, model, options, environment))
    blocks = (ingested(url) - before) / (time.monotonic() - began)
    return [[statistics.median(column) for column in zip(*runs[model])] for model in MODELS], blocks


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kvleap")
    parser.add_argument("--engines", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--threads", type=int, default=0, help="threads of the server; 0 is its default")
    parser.add_argument("--seconds", type=int, default=5, help="seconds per measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--publish", type=float, help="also measure beside a mock engine with this many requests per second and rank"
    )
    parser.add_argument("--ranks", type=int, default=4, help="data-parallel ranks of the mock engine")
    options = parser.parse_args()
    processes = []
    try:
        server, url = serve(options)
        processes.append(server)
        chains = fill(url, options.engines, options.prompts)
        with tempfile.TemporaryDirectory() as scratch:
            environment = dict(os.environ, BODIES=f"{scratch}/bodies-", SCRIPT=f"{scratch}/wrk.lua")
            bodies = {
                environment["BODIES"] + model: "\n".join(
                    json.dumps({"model_name": model, "block_hashes": chain}) for chain in chains)
                for model in MODELS
            }
            for path, content in {**bodies, environment["SCRIPT"]: SCRIPT}.items():
                with open(path, "w", encoding="utf-8") as file:
                    file.write(content)
            alone, _ = rounds(options, url, environment)
            print(f"{'':34}{'requests/s':>12} {'p50 us':>8} {'p99 us':>8} {'of empty':>8} {'p99':>8}")
            show("alone", alone, alone[0])
            if options.publish:
                processes.append(publish(options, url))
                beside, blocks = rounds(options, url, environment)
                show(f"{blocks:.0f} blocks/s ingested", beside, alone[0])
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


def show(what, middle, empty):
    for model, (rate, half, tail) in zip(MODELS, middle):
        print(f"{what:26}{model:8}{rate:12.0f} {half:8.0f} {tail:8.0f} {rate / empty[0]:8.2f} {tail / empty[2]:8.2f}")


if __name__ == "__main__":
    main()
