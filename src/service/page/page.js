"use strict";

/** The time between two requests, and the longest pause after failures, in milliseconds. */
const PERIOD = 1000, LONGEST = 5000;

const $ = (id) => document.getElementById(id);
const token = {
  get: () => sessionStorage.getItem("token"),
  set: (value) => sessionStorage.setItem("token", value),
};

/** Writes only what has changed, so that selections stay and nothing flickers. */
function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function mark(element, name, value) {
  if (element.dataset[name] !== value) element.dataset[name] = value;
}

// Formatting numbers.

function count(n) {
  if (n === null || n === undefined || Number.isNaN(n)) return "–";
  for (const [size, unit] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (n >= size) return digits(n / (unit === "k" ? 1e3 : size)) + " " + unit;
  }
  return String(n >= 100 ? Math.round(n) : Math.round(n * 10) / 10);
}

function bytes(n) {
  if (n === null || n === undefined) return "–";
  for (const [size, unit] of [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
    if (n >= size) return digits(n / size) + " " + unit;
  }
  return n + " B";
}

/** Formats a number with three digits, and without decimals from 100 on. */
function digits(n) {
  return n >= 100 ? String(Math.round(n)) : n.toPrecision(3);
}

function time(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"], [1e-3, "ms"], [1e-6, "µs"]]) {
    if (seconds >= size) return digits(seconds / size) + " " + unit;
  }
  return Math.round(seconds * 1e9) + " ns";
}

// Requests to the server.

async function call(path, body) {
  const headers = {};
  if (token.get()) headers.Authorization = "Bearer " + token.get();
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const signal = AbortSignal.timeout(10000);
  return fetch(path, { method: body === undefined ? "GET" : "POST", headers, body, signal, cache: "no-store" });
}

/** Rates of counters per second; null at first, and after a restart. */
class Rates {
  before = new Map();
  now = new Map();

  of(key, value, seconds) {
    this.now.set(key, value);
    const before = this.before.get(key);
    return before === undefined || value < before || !(seconds > 0) ? null : (value - before) / seconds;
  }

  turn() {
    this.before = this.now;
    this.now = new Map();
  }
}

/** Upper bounds of the median and the 99th percentile of lookup times, from the histogram's growth over the last requests. */
class Latencies {
  history = [];

  of(buckets) {
    this.history.push(buckets);
    if (this.history.length > 11) this.history.shift();
    const grown = buckets.map(([bound, n], place) => [bound, n - this.history[0][place][1]]);
    const all = grown.at(-1)[1];
    return all > 0 ? [0.5, 0.99].map((part) => grown.find(([, n]) => n >= part * all)[0]) : null;
  }

  forget() {
    this.history = [];
  }
}

const rates = new Rates();
const latencies = new Latencies();
let status = null;
let failures = 0;

async function look() {
  let answer = null;
  try {
    const response = await call("v1/status");
    if (response.status === 401 || response.status === 403) {
      askForToken();
      return;
    }
    if (!response.ok) throw new Error(`the server answers ${response.status}`);
    answer = await response.json();
  } catch {
    failures += 1;
    lost();
    return;
  }
  failures = 0;
  $("login").hidden = true;
  show(answer);
}

async function run() {
  for (;;) {
    if (!document.hidden) await look();
    const pause = failures ? Math.min(PERIOD * 2 ** (failures - 1), LONGEST) : PERIOD;
    await new Promise((done) => {
      wake = done;
      setTimeout(done, pause);
    });
  }
}
let wake = () => {};
document.addEventListener("visibilitychange", () => wake());

function lost() {
  document.body.classList.add("stale");
  mark($("connection"), "state", "lost");
  const since = status ? `; figures of ${new Date(status.now_ms).toLocaleTimeString()}` : "";
  put($("connection"), `connection lost, trying again${since}`);
}

function askForToken() {
  document.body.classList.add("stale");
  mark($("connection"), "state", "waiting");
  put($("connection"), "a token is required");
  put($("login-error"), token.get() ? "The server did not accept this token." : "");
  $("login").hidden = false;
}

$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set($("token").value);
  $("token").value = "";
  wake();
});

// Figures.

function show(now) {
  const restarted = status !== null && status.started_ms !== now.started_ms;
  const seconds = status === null || restarted ? NaN : (now.now_ms - status.now_ms) / 1000;
  status = now;
  document.body.classList.remove("stale");
  mark($("connection"), "state", "live");
  put($("connection"), "connected");
  put($("release"), `${now.release}, up ${time((now.now_ms - now.started_ms) / 1000)}`);

  const states = {};
  for (const rank of now.ranks) states[rank.state] = (states[rank.state] ?? 0) + 1;
  put($("live"), `${states.live ?? 0} of ${now.ranks.length}`);
  const others = Object.entries(states).filter(([state]) => state !== "live");
  put($("live-note"), others.map(([state, n]) => `${n} ${plain(state)}`).join(", "));

  const perSecond = (key, n) => {
    const rate = rates.of(key, n, seconds);
    return rate === null ? "–" : `${count(rate)}/s`;
  };
  put($("lookups"), perSecond("lookups", now.lookups.count));
  put($("lookups-note"), `${count(now.lookups.count)} since the start`);
  if (restarted) latencies.forget();
  const bounds = latencies.of(now.lookups.buckets);
  const within = (bound) => (bound === null ? "beyond the measured range" : `≤ ${time(bound)}`);
  put($("latency"), bounds ? within(bounds[0]) : "–");
  put($("latency-note"), bounds ? `median; 99th percentile ${within(bounds[1])}` : "no lookups in the last seconds");
  const sum = (key) => now.models.reduce((total, model) => total + model[key], 0);
  put($("blocks"), perSecond("blocks", sum("applied_blocks")));
  put($("blocks-note"), `${count(sum("held_blocks"))} held`);
  const lags = now.models.map((model) => model.staleness_p99_s).filter((lag) => lag !== null);
  put($("lag"), lags.length ? time(Math.max(...lags)) : "–");
  put($("lag-note"), `99th percentile; ${count(sum("waiting"))} events waiting`);
  const { bytes: used, budget, over } = now.memory;
  const done = { refuse: ", new blocks are refused", forget: ", old blocks are forgotten" };
  put($("memory"), bytes(used));
  put($("memory-note"), budget === null ? "no budget" : `of ${bytes(budget)}${done[over] ?? ""}`);

  const { snapshot } = now;
  const age = snapshot?.saved_ms ? (now.now_ms - snapshot.saved_ms) / 1000 : null;
  put($("snapshot"), age === null ? "none" : `${time(Math.max(age, 0))} ago`);
  put($("snapshot-note"), !snapshot ? "no file is configured" : snapshot.error ?? (age === null ? "none yet since the start" : bytes(snapshot.bytes)));

  showModels(now.models);
  showEngines(now, seconds);
  rates.turn();
}

/** Gives a table one row for each of `keys`, keeps the rows that are there, and fills their cells. */
function rows(table, keys, cells) {
  const body = table.tBodies[0];
  const known = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  const wanted = keys.map((key) => {
    const row = known.get(key) ?? document.createElement("tr");
    if (!known.delete(key)) {
      row.dataset.key = key;
      for (const heading of table.tHead.rows[0].cells) row.insertCell().className = heading.className;
    }
    return row;
  });
  for (const row of known.values()) row.remove();
  wanted.forEach((row, place) => {
    if (body.rows[place] !== row) body.insertBefore(row, body.rows[place] ?? null);
    cells(row, place);
  });
}

function nameOf(model) {
  return model.tenant ? `${model.model} (${model.tenant})` : model.model;
}

function showModels(models) {
  $("no-models").hidden = models.length > 0;
  const keys = models.map((model) => JSON.stringify([model.model, model.group, model.tenant]));
  rows($("models"), keys, (row, place) => {
    const model = models[place];
    const cells = [
      nameOf(model), model.group, String(model.block_size), count(model.held_blocks), count(model.indexed_blocks),
      count(model.runs), bytes(model.bytes),
    ];
    cells.forEach((text, cell) => put(row.cells[cell], text));
  });
  const options = $("model").options;
  if ([...options].map((option) => option.value).join() === keys.join()) return;
  const chosen = $("model").value;
  $("model").replaceChildren(...models.map((model, place) => new Option(`${nameOf(model)}, ${model.group}`, keys[place])));
  if (keys.includes(chosen)) $("model").value = chosen;
}

// The table of engines, which is filtered, sorted and updated in place.

let sorting = { key: "name", up: true };
let engines = [];

// The reasons why answers about a rank are not exact, without those that its state already tells.
function told(rank) {
  return rank.reasons.filter((reason) => reason !== rank.state && reason !== "not_heard").map(plain).join(", ");
}

function showEngines(now, seconds) {
  engines = now.ranks.map((rank) => {
    const model = now.models[rank.model];
    const key = [rank.model, rank.instance, rank.dp_rank, rank.endpoint].join();
    const rate = rates.of(key, rank.blocks, seconds);
    return {
      key, rate, state: rank.state, reasons: told(rank), model: model ? nameOf(model) : "", held: rank.held, lag: rank.lag_s,
      name: `${rank.instance}/${rank.dp_rank}`, seen: rank.seen_s, sequence: rank.sequence, lost: rank.lost,
      skipped: rank.skipped, endpoint: rank.endpoint ?? "http",
    };
  });
  const states = [...new Set(engines.map((engine) => engine.state))].sort();
  if ([...$("state").options].slice(1).map((option) => option.value).join() !== states.join()) {
    const chosen = $("state").value;
    $("state").replaceChildren(new Option("all", ""), ...states.map((state) => new Option(plain(state), state)));
    $("state").value = states.includes(chosen) ? chosen : "";
  }
  arrange();
}

function arrange() {
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const state = $("state").value;
  const fits = (engine) =>
    (!state || engine.state === state) &&
    words.every((word) => `${engine.name} ${engine.model} ${engine.endpoint}`.toLowerCase().includes(word));
  const byName = (a, b) => a.name.localeCompare(b.name, "en", { numeric: true });
  const { key, up } = sorting;
  const compare = (a, b) => {
    const [x, y] = [a[key] ?? -1, b[key] ?? -1];
    const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
    return (up ? order : -order) || byName(a, b);
  };
  const shown = engines.filter(fits).sort(compare);
  rows($("engines"), shown.map((engine) => engine.key), (row, place) => {
    const engine = shown[place];
    const cells = [
      engine.name, [plain(engine.state), engine.reasons].filter(Boolean).join(": "), engine.model, count(engine.held), engine.rate === null ? "–" : count(engine.rate),
      time(engine.lag), engine.seen === null ? "never" : `${time(engine.seen)} ago`,
      engine.sequence === null ? "–" : String(engine.sequence), count(engine.lost), count(engine.skipped), engine.endpoint,
    ];
    cells.forEach((text, cell) => put(row.cells[cell], text));
    row.cells[1].classList.add("state");
    mark(row.cells[1], "state", engine.state);
  });
  $("no-engines").hidden = engines.length > 0;
  put($("shown"), engines.length ? `${shown.length} of ${engines.length} shown` : "");
}

$("filter").addEventListener("input", arrange);
$("state").addEventListener("change", arrange);
for (const heading of $("engines").tHead.rows[0].cells) {
  heading.firstElementChild.addEventListener("click", () => {
    const { key } = heading.dataset;
    // Of numbers, the largest are usually the most interesting.
    sorting = { key, up: sorting.key === key ? !sorting.up : !heading.classList.contains("number") };
    for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", sorting.up ? "ascending" : "descending");
    arrange();
  });
}

// Finding a prompt.

const notes = {
  tokens: "Token ids from the engine's tokenizer; this server has none.",
  hashes: "Local hashes of the blocks, signed or unsigned, including salt and adapter.",
  bytes: "Each byte of the UTF-8 text is one token. Only for engines with a byte-level vocabulary.",
};

function explain() {
  put($("content-note"), notes[$("form").value]);
  $("salt-field").hidden = $("lora-field").hidden = $("form").value === "hashes";
}
$("form").addEventListener("change", explain);
explain();

/** The numbers in the text, as text, because hashes are too large for JavaScript's numbers. */
function numbers(text, pattern) {
  const list = text.split(/[\s,;[\]]+/).filter(Boolean);
  const wrong = list.find((word) => !pattern.test(word));
  if (wrong !== undefined) throw new Error(`"${wrong}" is not a valid number`);
  return list;
}

function question() {
  const [model_name, routing_group, tenant_id] = JSON.parse($("model").value);
  const names = { model_name, routing_group };
  if (tenant_id) names.tenant_id = tenant_id;
  const form = $("form").value;
  const text = $("content").value;
  if (form !== "hashes" && $("salt").value) names.cache_salt = $("salt").value;
  if (form !== "hashes" && $("lora").value) names.lora_name = $("lora").value;
  const list = form === "bytes" ? [...new TextEncoder().encode(text)]
    : numbers(text, form === "hashes" ? /^-?\d{1,20}$/ : /^\d{1,10}$/);
  const field = form === "hashes" ? "block_hashes" : "token_ids";
  const body = JSON.stringify(names).replace(/}$/, `,"${field}":[${list.join()}]}`);
  const { block_size } = status.models.find((model) =>
    model.model === model_name && model.group === routing_group && model.tenant === tenant_id);
  const blocks = form === "hashes" ? list.length : Math.floor(list.length / block_size);
  return { path: form === "hashes" ? "query_by_hash" : "query", body, tokens: blocks * block_size, blocks, block_size };
}

$("prompt").addEventListener("submit", async (event) => {
  event.preventDefault();
  let asked;
  try {
    asked = question();
    const response = await call(asked.path, asked.body);
    const said = await response.json();
    if (!response.ok) throw new Error(said.error ?? `the server answers ${response.status}`);
    answer(asked, said);
  } catch (error) {
    $("answer").replaceChildren();
    put($("answer-summary"), `The lookup failed: ${error.message}.`);
  }
});

function plural(n, one) {
  return n === 1 ? `1 ${one}` : `${n} ${one}s`;
}

function plain(name) {
  return name.replaceAll("_", " ");
}

function blocksOf(tokens, asked) {
  return plural(tokens / asked.block_size, "block");
}

function answer(asked, said) {
  const holders = [];
  for (const [instance, { gpu, dp, cpu, disk }] of Object.entries(said.instances)) {
    const below = [["host", cpu, gpu], ["disk", disk, Math.max(gpu, cpu)]].filter(([, tokens, above]) => tokens > above);
    const tiers = below.map(([tier, tokens]) => `${blocksOf(tokens, asked)} down to ${tier}`).join(", ");
    for (const [rank, tokens] of Object.entries(dp)) {
      const key = `${instance}/${rank}`;
      const { exactness, reasons } = said.exactness?.[instance]?.[rank] ?? {};
      const range = { at_least: "or more", unknown: "more or less" }[exactness];
      const doubt = range ? `${range}: ${reasons.map(plain).join(", ")}` : "";
      holders.push({ key, tokens, note: [tiers, doubt].filter(Boolean).join("; ") });
    }
  }
  holders.sort((a, b) => b.tokens - a.tokens || a.key.localeCompare(b.key, "en", { numeric: true }));
  const whole = `${plural(asked.blocks, "block")}, ${plural(asked.tokens, "token")}`;
  const most = 100;
  const more = holders.length > most ? ` The first ${most} are listed.` : "";
  put($("answer-summary"), holders.length
    ? `${plural(holders.length, "worker")} ${holders.length === 1 ? "holds" : "hold"} some of it (${whole}).${more}`
    : asked.blocks ? `No worker holds the first block of it (${whole}).` : "The prompt is shorter than a block.");
  $("answer").replaceChildren(...holders.slice(0, most).map(({ key, tokens, note }) => {
    const item = document.createElement("li");
    const name = document.createElement("strong");
    const bar = document.createElement("span");
    const part = document.createElement("i");
    const text = document.createElement("span");
    name.textContent = key;
    bar.className = "bar";
    part.style.width = `${asked.tokens ? (100 * tokens) / asked.tokens : 0}%`;
    bar.append(part);
    text.className = "note";
    text.textContent = [`${tokens / asked.block_size} of ${plural(asked.blocks, "block")}, ${tokens} tokens`, note].filter(Boolean).join("; ");
    item.append(name, bar, text);
    return item;
  }));
}

run();
