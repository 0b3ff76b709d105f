// The five views. Each builds its elements once, says what it asks for, and
// shows what came.

const SIGNS = { healthy: "✓", warning: "!", critical: "✕", unjudged: "–" };

function tile(title, about) {
  const figure = make("span");
  const unit = make("span", { class: "unit" });
  const sub = make("dd", { class: "sub" });
  const element = make("dl", { class: "tile", title: about }, make("dt", {}, title), make("dd", {}, figure, unit), sub);
  return {
    element,
    show([value, of], note, tone) {
      say(figure, value);
      say(unit, of);
      say(sub, note || "");
      element.dataset.tone = tone || "";
    },
  };
}

function tiles(...all) {
  return make("div", { class: "tiles" }, all.map((one) => one.element));
}

function panel(title, note, ...children) {
  const words = note ? make("span", { class: "note" }, note) : null;
  return make("section", { class: "panel" }, make("header", {}, make("h2", {}, title), words), ...children);
}

function facts(names) {
  const values = new Map(names.map(([key]) => [key, make("dd")]));
  const list = make("dl", { class: "facts" }, names.flatMap(([key, title]) => [make("dt", {}, title), values.get(key)]));
  return { element: list, show: (key, words) => say(values.get(key), words) };
}

function sum(list, from = 0) {
  return list.slice(from).reduce((total, value) => total + value, 0);
}

/** A share in percent; null where there is no whole. */
function share(part, whole) {
  return whole > 0 ? part * 100 / whole : null;
}

function perSecond(series) {
  return (history, at) => (history.seconds[at] >= 5 ? history[series][at] / history.seconds[at] : null);
}

/** A count, as of a whole minute: the one under way would draw a cliff. */
function perMinute(series) {
  return (history, at) => (history.seconds[at] >= 5 ? history[series][at] * 60 / history.seconds[at] : null);
}

/** What the clock of this browser is set to: all times are shown in it. */
function timeZone() {
  const minutes = -new Date().getTimezoneOffset();
  const hours = `${Math.floor(Math.abs(minutes) / 60)}${minutes % 60 ? `:${String(Math.abs(minutes) % 60).padStart(2, "0")}` : ""}`;
  const name = Intl.DateTimeFormat().resolvedOptions().timeZone || "local time";
  return `times in ${name} (UTC${minutes < 0 ? "−" : "+"}${hours})`;
}

/** A figure that means nothing in a minute without requests. */
function whereAsked(series) {
  return (history, at) => (history.requests[at] > 0 ? history[series][at] : null);
}

/** Which window the charts show; shared by the views. */
const span24 = { window: "1h", choices: [] };

function windowChoice(changed) {
  const buttons = [["1h", "Hour"], ["24h", "Day"]].map(([window, title]) =>
    make("button", { type: "button", "data-window": window, "aria-pressed": String(window === span24.window), onclick: () => {
      span24.window = window;
      for (const button of span24.choices) button.setAttribute("aria-pressed", String(button.dataset.window === window));
      changed();
    } }, title));
  span24.choices.push(...buttons);
  return make("div", { class: "choice", role: "group", "aria-label": "Window of the charts" }, buttons);
}

// ---- Overview ---------------------------------------------------------------

function overview(refresh) {
  const score = make("span");
  const sentence = make("p", { class: "sentence" });
  const since = make("p", { class: "note" });
  const verdict = make("section", { class: "panel verdict", "aria-label": "Health" },
    make("p", { class: "score" }, score, make("small", {}, "of 100")), make("div", {}, sentence, since));
  const requests = tile("Requests", "Over the last minute");
  const hits = tile("Hit rate", "Of requests for routes, over the last hour");
  const p95 = tile("p95", "95 % of requests were answered within, over the last five minutes");
  const errors = tile("Errors", "Answers of 5xx over the last hour");
  const saved = tile("Time saved", "What fetching had cost what the store answered, since the last reset");
  const flight = tile("In flight", "Requests being answered now");
  const charts = [
    new Chart("Requests", [
      { name: "all", fill: true, format: rate, of: perSecond("requests") },
      { name: "from the store", colour: 2, format: rate, of: perSecond("hits") },
    ], { note: "a second" }),
    new Chart("Latency", [
      { name: "p50", format: milliseconds, of: whereAsked("p50_ms") },
      { name: "p95", colour: 2, format: milliseconds, of: whereAsked("p95_ms") },
      { name: "p99", colour: 3, format: milliseconds, of: whereAsked("p99_ms") },
    ], { note: "to the head of the answer", step: 0.1 }),
    new Chart("Hit rate", [
      { name: "hit rate", fill: true, format: percent, of: (history, at) => share(history.hits[at], history.hits[at] + history.misses[at]) },
    ], { note: "of requests for routes", top: 100 }),
    new Chart("Trouble", [
      { name: "5xx", colour: 3, format: tenths, of: perMinute("errors") },
      { name: "4xx", colour: 1, format: tenths, of: perMinute("client_errors") },
      { name: "origin failed", colour: 2, format: tenths, of: perMinute("upstream_errors") },
      { name: "refused", colour: 4, format: tenths, of: perMinute("refused") },
    ], { note: "a minute", step: 4 }),
  ];
  const indicators = make("ul", { class: "indicators" });
  const advice = make("ul", { class: "advice" });
  const noAdvice = make("p", { class: "empty" }, "Nothing to recommend.");
  const element = [
    verdict,
    tiles(requests, hits, p95, errors, saved, flight),
    make("div", { class: "table-tools" }, make("h2", {}, "What happened"), make("span", { class: "note" }, `${timeZone()} `, windowChoice(refresh))),
    make("div", { class: "grid2" }, charts.map((chart) => chart.element)),
    make("div", { class: "grid2" }, panel("Indicators", "what the score is made of", indicators), panel("Recommendations", null, advice, noAdvice)),
  ];
  return {
    element,
    async update(history) {
      const [health, system, cache, queues, hour] = await Promise.all([
        ask("health"), ask("performance/system"), ask("cache/stats"), ask("queues"), history("1h"),
      ]);
      verdict.dataset.level = health.status;
      say(score, String(health.score));
      tell(sentence, health.message);
      say(since, `Running for ${text(span(system.uptime_seconds))}; the figures below are live.`);
      showIndicators(indicators, health.indicators);
      advice.replaceChildren(...health.recommendations.map((words) => {
        const item = make("li");
        tell(item, words);
        return item;
      }));
      noAdvice.hidden = health.recommendations.length > 0;
      const asked = sum(hour.hits) + sum(hour.misses);
      const failed = sum(hour.errors);
      const recent = Math.max(0, hour.start.length - 6);
      const latest = hour.p95_ms.slice(recent).filter((_, at) => hour.requests[recent + at] > 0).sort((a, b) => a - b);
      const ofFailed = share(failed, sum(hour.requests));
      requests.show(rate(system.requests_per_second), `${text(count(sum(hour.requests)))} in the last hour`);
      hits.show(percent(share(sum(hour.hits), asked)), `${text(percent(cache.summary.byte_hit_rate_percent))} of bytes`);
      p95.show(milliseconds(latest.length ? latest[Math.floor(latest.length / 2)] : null), "last five minutes");
      errors.show(percent(ofFailed), `${text(count(failed))} in the last hour`, ofFailed >= 5 ? "critical" : ofFailed >= 1 ? "warning" : "");
      saved.show(span(cache.summary.saved_seconds), `${text(count(cache.summary.total_hits))} hits since reset`);
      const waiting = queues.requests.waiting + queues.upstream.waiting;
      flight.show(count(queues.requests.in_flight), `${text(count(waiting))} waiting, ${queues.upstream.in_flight} at the origin`, waiting > 100 ? "warning" : "");
      const shown = await history(span24.window);
      for (const chart of charts) chart.show(shown);
      return health;
    },
  };
}

function showIndicators(list, indicators) {
  const order = { critical: 0, warning: 1, healthy: 2, unjudged: 3 };
  // Too little happened to judge: that is not good, and not bad.
  const judged = indicators.map((one) => (one.value == null && one.status === "healthy" ? { ...one, status: "unjudged" } : one));
  const sorted = judged.sort((left, right) => order[left.status] - order[right.status]);
  list.replaceChildren(...sorted.map((one) => {
    const value = one.value == null ? "not judged" : `${Number(one.value.toFixed(1))} ${one.unit}`;
    const words = one.name.replaceAll("_", " ");
    const said = make("span", { class: "said", hidden: ["healthy", "unjudged"].includes(one.status) });
    tell(said, one.advice);
    return make("li", { "data-level": one.status, title: one.advice },
      make("span", { class: "sign", role: "img", "aria-label": one.status === "unjudged" ? "not judged" : one.status }, SIGNS[one.status]),
      make("span", {}, words), make("span", { class: "figure", title: `threshold ${one.threshold} ${one.unit}` }, value),
      said);
  }));
}

// ---- Endpoints --------------------------------------------------------------

function endpoints() {
  const figure = (title, of, format, about, tone, width) => ({ title, about, of, show: (row) => text(format(of(row))), tone, width });
  const table = new Table("Endpoints", [
    { title: "Endpoint", left: true, mono: true, about: "Method and path template", of: (row) => `${row.method} ${row.endpoint}`, show: (row) => `${row.method} ${row.endpoint}` },
    figure("Requests", (row) => row.count, count),
    figure("4xx", (row) => row.client_errors, count, "Answers of 4xx", (row) => (row.client_errors > 0 ? "warn" : "zero"), "spare"),
    figure("5xx", (row) => row.errors, count, "Answers of 5xx", (row) => (row.errors > 0 ? "bad" : "zero")),
    { title: "Hit rate", width: "spare", about: "Answered from the store, of what could be", of: (row) => hitRate(row), show: (row) => (hitRate(row) == null ? NONE : meter(hitRate(row))) },
    figure("Average", (row) => row.avg_ms, milliseconds, null, null, "seldom"),
    figure("p50", (row) => row.p50_ms, milliseconds, null, null, "seldom"),
    figure("p95", (row) => row.p95_ms, milliseconds),
    figure("p99", (row) => row.p99_ms, milliseconds, null, null, "spare"),
    figure("Slowest", (row) => row.max_ms, milliseconds, null, null, "rare"),
    figure("Origin p95", (row) => (row.upstream.count ? row.upstream.p95_ms : null), milliseconds, "What the origin took", null, "spare"),
    { title: "Last", width: "seldom", about: "When the last request was answered", of: (row) => Date.parse(row.last_request) || 0, show: (row) => ago(row.last_request) },
  ], { sorted: 1, filter: "Filter by method or path", empty: "No request was counted yet. Send one through the proxy and it shows up here." });
  const reset = make("button", { type: "button", class: "quiet", id: "reset-performance", onclick: () => confirmThen(
    "Set the figures to zero?", "Timing of every endpoint starts again. Prometheus' counters and the history go on.", "Set to zero", () => ask("performance/reset", "POST")) }, "Set to zero");
  table.tools.append(reset);
  return {
    element: [panel("Endpoints", "since the last reset; times to the head of the answer", table.element)],
    table,
    async update() {
      table.show(await ask("performance"));
    },
  };
}

function hitRate(row) {
  return row.count > row.cache.bypass ? row.cache.hit_rate_percent : null;
}

// ---- Cache ------------------------------------------------------------------

function caches(refresh) {
  const hits = tile("Hit rate");
  const byBytes = tile("Byte hit rate", "Bytes answered from the store, of all bytes answered");
  const saved = tile("Time saved", "What fetching had cost what the store answered");
  const stored = tile("Stored");
  const fill = tile("Memory", "Of memory.bytes_max");
  const dropped = tile("Evicted");
  const number = (title, key, about, tone) => ({ title, about, of: (row) => row[key], show: (row) => text(count(row[key])), tone: tone || ((row) => (row[key] === 0 ? "zero" : "")) });
  const routes = new Table("Routes", [
    { title: "Route", left: true, mono: true, of: (row) => row.name, show: (row) => row.name },
    { title: "Hit rate", of: (row) => row.hit_rate_percent, show: (row) => meter(row.hit_rate_percent) },
    number("Hits", "hits"),
    number("Misses", "misses"),
    { title: "Saved", about: "Time that fetching had cost", of: (row) => row.saved_seconds, show: (row) => text(span(row.saved_seconds)) },
    number("Stored", "size"),
    { title: "Bytes", of: (row) => row.bytes, show: (row) => text(bytes(row.bytes)) },
    { title: "Full", about: "Of the route's own bound, or of memory", of: (row) => row.utilization_percent, show: (row) => text(percent(row.utilization_percent)) },
    number("Evicted", "evictions", "To make room"),
    number("Expired", "expirations"),
    number("Invalidated", "invalidations"),
    { title: "Not stored", about: "Answers that were not stored", of: (row) => row.refused, show: (row) => text(count(row.refused)), tone: (row) => (row.refused ? "" : "zero") },
  ], { sorted: 2, filter: "Filter by route", empty: "No route is configured: everything is passed on and nothing stored. Add [[routes]] to proxy.toml." });
  const key = (title, of, format) => ({ title, of, show: (row) => text(format(of(row))) });
  const keys = (caption) => new Table(caption, [
    { title: "Path", left: true, mono: true, of: (row) => row.path, show: (row) => row.path },
    { title: "Route", left: true, of: (row) => row.route, show: (row) => row.route },
    key("Hits", (row) => row.hits, count),
    key("Bytes", (row) => row.bytes, bytes),
  ], { sorted: caption.endsWith("bytes") ? 3 : 2, filter: null, most: 10, empty: "Nothing was answered from the store yet." });
  const byHits = keys("Top keys by hits");
  const byWeight = keys("Top keys by bytes");
  const byMisses = new Table("Top keys by misses", [
    { title: "Path", left: true, mono: true, of: (row) => row.path, show: (row) => row.path },
    { title: "Route", left: true, of: (row) => row.route, show: (row) => row.route },
    key("Misses", (row) => row.misses, count),
  ], { sorted: 2, filter: null, most: 10, empty: "Nothing was missed yet." });
  const reasons = new Table("Reasons for not storing", [
    { title: "Reason", left: true, mono: true, of: (row) => row.reason, show: (row) => row.reason },
    { title: "Route", left: true, of: (row) => row.route, show: (row) => row.route },
    { title: "Answers", of: (row) => row.count, show: (row) => text(count(row.count)) },
  ], { sorted: 2, filter: null, empty: "Every answer that could be stored was." });
  const redis = facts([["state", "Connection"], ["hits", "Hits"], ["misses", "Misses"], ["late", "Time-outs, skipped, errors"], ["stores", "Written"], ["queue", "Waiting to be written"], ["dropped", "Dropped"]]);
  const noRedis = make("p", { class: "empty" }, "Redis is not configured: this instance stores in memory alone.");
  const command = invalidation(refresh);
  const reset = make("button", { type: "button", class: "quiet", onclick: () => confirmThen(
    "Set the cache figures to zero?", "What is stored stays. Prometheus' counters and the history go on.", "Set to zero", () => ask("cache/reset-stats", "POST").then(refresh)) }, "Set to zero");
  routes.tools.append(reset);
  return {
    element: [
      tiles(hits, byBytes, saved, stored, fill, dropped),
      panel("Routes", "since the last reset", routes.element),
      make("div", { class: "grid-wide" }, command.element, panel("Redis", null, redis.element, noRedis)),
      make("div", { class: "grid2" }, panel("Most asked for", "estimated; queries left out", byHits.element), panel("Most bytes", "estimated; queries left out", byWeight.element)),
      make("div", { class: "grid2" }, panel("Most missed", "estimated; queries left out", byMisses.element), panel("Why answers were not stored", null, reasons.element)),
    ],
    table: routes,
    async update() {
      const [cache, top] = await Promise.all([ask("cache/stats"), ask("cache/top-keys?limit=10")]);
      const { summary } = cache;
      const rows = Object.entries(cache.caches).map(([name, figures]) => ({ ...figures, name, refused: sum(Object.values(figures.refusals)) }));
      const total = (name) => sum(rows.map((row) => row[name]));
      hits.show(percent(summary.total_requests ? summary.overall_hit_rate_percent : null), `${text(count(summary.total_hits))} of ${text(count(summary.total_requests))}`);
      byBytes.show(percent(summary.body_bytes ? summary.byte_hit_rate_percent : null), `${text(bytes(summary.hit_bytes))} of ${text(bytes(summary.body_bytes))}`);
      saved.show(span(summary.saved_seconds), summary.total_hits ? `${text(milliseconds(summary.saved_seconds * 1000 / summary.total_hits))} a hit` : "");
      stored.show(count(summary.size), "responses in memory");
      fill.show(percent(share(summary.bytes, summary.max_bytes)), `${text(bytes(summary.bytes))} of ${text(bytes(summary.max_bytes))}`);
      dropped.show(count(total("evictions")), `${text(count(total("evictions_early")))} before their time`, total("evictions_early") > 10 ? "warning" : "");
      routes.show(rows);
      command.routes(rows.map((row) => row.name));
      byHits.show(top.by_hits);
      byWeight.show(top.by_bytes);
      byMisses.show(top.by_misses);
      reasons.show(rows.flatMap((row) => Object.entries(row.refusals).map(([reason, answers]) => ({ reason, route: row.name, count: answers }))));
      noRedis.hidden = cache.redis.configured;
      redis.element.hidden = !cache.redis.configured;
      redis.show("state", cache.redis.connected ? "connected" : "not connected");
      redis.show("hits", text(count(cache.redis.hits)));
      redis.show("misses", text(count(cache.redis.misses)));
      redis.show("late", `${cache.redis.timeouts}, ${cache.redis.skipped}, ${cache.redis.errors}`);
      redis.show("stores", text(count(cache.redis.stores)));
      redis.show("queue", `${text(count(cache.redis.queue_length))} (${text(bytes(cache.redis.queue_bytes))})`);
      redis.show("dropped", text(count(cache.redis.stores_dropped)));
    },
  };
}

/** The form that invalidates: what, how, and once more whether. */
function invalidation(refresh) {
  const scope = make("select", { id: "scope", onchange: () => choose() },
    [["pattern", "Paths by pattern"], ["route", "A route"], ["tag", "A tag"], ["all", "Everything"]].map(([value, title]) => make("option", { value }, title)));
  const what = make("input", { id: "what", type: "text", spellcheck: "false", autocomplete: "off", required: true });
  const route = make("select", { id: "which-route" });
  const soft = make("input", { id: "soft", type: "checkbox" });
  const label = make("label", { for: "what" });
  const routeLabel = make("label", { for: "which-route" }, "Route");
  const field = make("div", { class: "grow" }, label, what);
  const routeField = make("div", { class: "grow" }, routeLabel, route);
  const outcome = make("p", { class: "outcome", role: "status", id: "outcome", hidden: true });
  const hints = { pattern: ["Pattern", "/users/**"], tag: ["Tag", "product-7"], all: ["", ""], route: ["", ""] };
  function choose() {
    const [title, example] = hints[scope.value];
    say(label, title);
    what.placeholder = example;
    field.hidden = !title;
    what.required = Boolean(title);
    routeField.hidden = scope.value !== "route";
  }
  function submit(event) {
    event.preventDefault();
    const value = scope.value === "route" ? route.value : what.value.trim();
    const query = new URLSearchParams();
    if (scope.value !== "all") query.set(scope.value, value);
    if (soft.checked) query.set("soft", "true");
    const named = scope.value === "all" ? "everything" : `${scope.value} ${value}`;
    const effect = soft.checked ? "It is marked stale: what may be reused stale still is, while the origin is asked." : "It is not reused again; the next request of each goes to the origin.";
    confirmThen(`Invalidate ${named}?`, `All that is stored of it, here and in the whole fleet. ${effect}`, "Invalidate", async () => {
      try {
        const done = await ask(`cache/invalidate?${query}`, "POST");
        const fleet = done.missing.length ? `; not yet acknowledged by ${done.missing.join(", ")}` : "";
        tellOutcome("done", `Invalidated: ${done.invalidated}${done.matched === null ? "" : `, ${done.matched} in this instance's memory`}${done.note ? ` (${done.note})` : ""}${done.position ? `, log position ${done.position}` : ""}${fleet}.`);
      } catch (error) {
        if (error instanceof Refused && error.status === 401) throw error;
        tellOutcome("failed", error.message);
      }
      refresh();
    });
  }
  function tellOutcome(kind, words) {
    outcome.hidden = false;
    outcome.dataset.kind = kind;
    say(outcome, words);
  }
  const form = make("form", { class: "command", id: "invalidate", onsubmit: submit },
    make("div", { class: "row" },
      make("div", {}, make("label", { for: "scope" }, "What"), scope), field, routeField),
    make("div", { class: "row" },
      make("div", { class: "check" }, soft, make("label", { for: "soft" }, "Soft: mark stale instead")),
      make("button", { type: "submit", class: "primary", id: "invalidate-now" }, "Invalidate…")),
    outcome);
  choose();
  let known = "";
  return {
    element: panel("Invalidate", "here and in the fleet", form),
    routes(names) {
      if (known === names.join("\n")) return;
      known = names.join("\n");
      const chosen = route.value;
      route.replaceChildren(...names.map((name) => make("option", { value: name }, name)));
      if (names.includes(chosen)) route.value = chosen;
    },
  };
}

// ---- System -----------------------------------------------------------------

function system(refresh) {
  const cpu = tile("Processor", "Of one core, in the last minute");
  const memory = tile("Memory");
  const files = tile("Open files");
  const open = tile("Connections", "To the origin");
  const machine = facts([["version", "Version"], ["uptime", "Running for"], ["threads", "Threads"], ["cpu", "Processor time so far"], ["limit", "Memory the container allows"], ["cores", "Cores the container allows"]]);
  const upstream = facts([["connections", "Connections open, idle"], ["opened", "Connections made"], ["latency", "p50, p95, p99"], ["received", "Bytes received"], ["row", "Failures in a row"], ["errors", "Failed by kind"]]);
  const warm = facts([["planned", "To fetch"], ["warmed", "Fetched"], ["failed", "Could not be fetched"], ["wait", "Readiness"]]);
  const noWarm = make("p", { class: "empty" }, "Nothing is configured to be warmed.");
  const queue = new Table("Queues", [
    { title: "Queue", left: true, of: (row) => row.name, show: (row) => row.name },
    { title: "Under way", of: (row) => row.in_flight, show: (row) => text(count(row.in_flight)) },
    { title: "Bound", of: (row) => row.in_flight_max, show: (row) => text(count(row.in_flight_max)) },
    { title: "Waiting", of: (row) => row.waiting, show: (row) => text(count(row.waiting)), tone: (row) => (row.waiting > 100 ? "warn" : row.waiting ? "" : "zero") },
    { title: "May wait", of: (row) => row.waiting_max, show: (row) => text(count(row.waiting_max)) },
    { title: "Refused or dropped", of: (row) => row.refused, show: (row) => text(count(row.refused)), tone: (row) => (row.refused ? "bad" : "zero") },
  ], { sorted: 3, filter: null, empty: "" });
  const charts = [
    new Chart("Memory", [{ name: "resident", fill: true, format: bytes, of: (history, at) => history.memory_bytes[at] }], { note: "of the process", binary: true, step: 1 << 20, empty: " " }),
    new Chart("Processor", [{ name: "of one core", fill: true, format: percent, of: (history, at) => (history.seconds[at] >= 5 ? history.cpu_percent[at] : null) }], { step: 10, empty: " " }),
  ];
  return {
    element: [
      tiles(cpu, memory, files, open),
      make("div", { class: "table-tools" }, make("h2", {}, "What it took"), make("span", { class: "note" }, `${timeZone()} `, windowChoice(refresh))),
      make("div", { class: "grid2" }, charts.map((chart) => chart.element)),
      panel("Queues", "at the bounds requests are answered 503", queue.element),
      make("div", { class: "grid2" }, panel("Origin", "since the start", upstream.element), panel("Process", null, machine.element)),
      panel("Warming", null, warm.element, noWarm),
    ],
    async update(history) {
      const [stats, queues] = await Promise.all([ask("stats"), ask("queues")]);
      const now = stats.performance.system;
      const origin = stats.performance.upstream;
      const process = now.process || {};
      const cgroup = now.cgroup || {};
      cpu.show(percent(process.cpu_percent_now ?? null), `${text(percent(process.cpu_percent ?? null))} on average`);
      memory.show(bytes(process.memory_bytes ?? null), cgroup.memory_bytes_max ? `of ${text(bytes(cgroup.memory_bytes_max))}` : "resident");
      files.show(count(process.open_files ?? null), process.open_files_max ? `of ${text(count(process.open_files_max))}` : "");
      open.show(count(origin.connections.open), `${origin.connections.idle} idle, ${text(count(origin.connections.opened))} made`);
      machine.show("version", now.version);
      machine.show("uptime", text(span(now.uptime_seconds)));
      machine.show("threads", text(count(process.threads ?? null)));
      machine.show("cpu", text(span(process.cpu_seconds ?? null)));
      machine.show("limit", cgroup.memory_bytes_max ? text(bytes(cgroup.memory_bytes_max)) : "no limit");
      machine.show("cores", cgroup.cpu_cores_max ? cgroup.cpu_cores_max.toFixed(1) : "no limit");
      upstream.show("connections", `${origin.connections.open}, ${origin.connections.idle}`);
      upstream.show("opened", text(count(origin.connections.opened)));
      upstream.show("latency", origin.count ? [origin.p50_ms, origin.p95_ms, origin.p99_ms].map((value) => text(milliseconds(value))).join(", ") : NONE);
      upstream.show("received", text(bytes(origin.body_bytes)));
      upstream.show("row", text(count(origin.failures_in_a_row)));
      const kinds = Object.entries(origin.errors).map(([kind, times]) => `${kind} ${times}`);
      upstream.show("errors", kinds.join(", ") || "none");
      queue.show(queueRows(queues));
      noWarm.hidden = stats.warm.total > 0;
      warm.element.hidden = stats.warm.total === 0;
      warm.show("planned", text(count(stats.warm.total)));
      warm.show("warmed", text(count(stats.warm.warmed)));
      warm.show("failed", text(count(stats.warm.failed)));
      warm.show("wait", stats.warm.is_awaited ? "waits for it" : "does not wait");
      const shown = await history(span24.window);
      for (const chart of charts) chart.show(shown);
    },
  };
}

function queueRows(queues) {
  const bounded = (name, one) => ({ ...one, name, refused: one.refused_full + one.refused_late });
  const rows = [bounded("Requests", queues.requests), bounded("Exchanges with the origin", queues.upstream)];
  const behind = queues.write_behind;
  if (behind) {
    rows.push({ name: "Writes to Redis", in_flight: null, in_flight_max: null, waiting: behind.length, waiting_max: behind.length_max, refused: behind.dropped });
  }
  return rows;
}

// ---- Fleet ------------------------------------------------------------------

function fleet() {
  const table = new Table("Instances", [
    { title: "Instance", left: true, mono: true, of: (row) => row.id, show: (row) => row.id },
    { title: "Host", left: true, of: (row) => row.host, show: (row) => row.host || NONE },
    { title: "State", left: true, about: "Whether it follows the invalidation log closely enough", of: (row) => fleetState(row), show: (row) => badge(row) },
    { title: "Behind", about: "Since it knew that it had applied the whole log", of: (row) => row.lag_ms, show: (row) => text(milliseconds(row.lag_ms)), tone: (row) => (row.lag_ms > 2000 ? "warn" : "") },
    { title: "Log position", of: (row) => row.position || "", show: (row) => row.position || NONE },
    { title: "Version", of: (row) => row.version, show: (row) => row.version },
    { title: "Heard of", of: (row) => row.heard_seconds_ago, show: (row) => (row.heard_seconds_ago < 5 ? "now" : `${row.heard_seconds_ago} s ago`) },
    { title: "Started", of: (row) => Date.parse(row.started), show: (row) => ago(row.started) },
  ], { sorted: 3, filter: "Filter by instance or host", empty: "No instance tells of itself yet." });
  const total = tile("Instances", "Heard of in the last 8 seconds");
  const behind = tile("Furthest behind", "The invalidation log");
  const lost = tile("Out of touch", "Instances that cannot promise to know every invalidation");
  const versions = tile("Versions");
  const figures = tiles(total, behind, lost, versions);
  const alone = make("p", { class: "empty" });
  return {
    element: [figures, panel("Fleet", "instances that share a namespace", table.element, alone)],
    table,
    async update() {
      const cache = await ask("cache/stats");
      const found = cache.redis.configured ? await askIfThere("fleet") : null;
      const rows = found ? found.instances : null;
      alone.hidden = Boolean(rows);
      table.element.hidden = !rows;
      figures.hidden = !rows;
      say(alone, cache.redis.configured
        ? "Redis does not say which instances there are. This one goes on from its own memory; invalidations wait."
        : "This instance runs on its own. With [redis] in proxy.toml, instances of one namespace share their stores and show up here.");
      if (!rows) return;
      const away = rows.filter((row) => !row.in_touch).length;
      total.show(count(rows.length), `asked ${found.instance}`);
      behind.show(milliseconds(Math.max(0, ...rows.map((row) => row.lag_ms || 0))), "of the invalidation log");
      lost.show(count(away), away ? "see the table" : "all follow the log", away ? "warning" : "");
      versions.show(count(new Set(rows.map((row) => row.version)).size), [...new Set(rows.map((row) => row.version))].join(", "));
      table.show(rows);
    },
  };
}

function fleetState(row) {
  return row.in_touch ? "in touch" : "out of touch";
}

function badge(row) {
  return make("span", { class: "badge", "data-level": row.in_touch ? "healthy" : "critical", "data-key": fleetState(row) }, fleetState(row));
}
