"""How much of the server's own speed the service keeps: queries of 100 blocks by hash, beside the same of an empty model.

Both go to one `kvleap serve`. Of a model in which nobody holds anything asked for, the same body is read and parsed, the
first block is missed, and an empty answer is written: that is what the server alone takes. wrk plays them in turns, so
that whatever else the machine does hits both. Needs wrk, and `cargo build --profile dist --features cli`. With --publish,
all of it is measured again while a mock engine publishes; what is compared with is still the empty model alone.

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
    """Prompts of 100 blocks behind system prompts of 20; every engine has a fifth of them. Returns the chains."""
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
    """A mock engine beside it, with some ranks: its requests and its encoding take their part of the cores, too."""
    at = ["--endpoint", "tcp://127.0.0.1:15557", "--replay-endpoint", "tcp://127.0.0.1:15657"]
    load = ["--ranks", str(options.ranks), "--rate", str(options.publish)]
    quiet = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    engine = subprocess.Popen([options.kvleap, "publish"] + at + load, **quiet)
    engine.stdout.readline()  # the sockets are bound
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
    """Medians for each model, measured in turns, and blocks ingested a second meanwhile."""
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
    parser.add_argument("--threads", type=int, default=0, help="of the server; 0 is its default")
    parser.add_argument("--seconds", type=int, default=5, help="of one measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--publish", type=float, help="then again, beside a mock engine of so many requests a second and rank")
    parser.add_argument("--ranks", type=int, default=4, help="of the mock engine")
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
