// The page of the admin API: asks /status once a second and shows it. Nothing is loaded from
// elsewhere, and text from the gateway only ever becomes text.
const $ = (id) => document.getElementById(id);
const TOKEN = "ringway-token";
const EVERY = 1000;
const KEPT = 60;

// --- asking ---------------------------------------------------------------------------------------

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(path, body) {
  const headers = {};
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.Authorization = `Bearer ${token}`;
  const options = { headers, cache: "no-store", signal: AbortSignal.timeout(30000) };
  if (body !== undefined) {
    options.method = "POST";
    options.body = JSON.stringify(body);
    headers["Content-Type"] = "application/json";
  }
  const answer = await fetch(path, options);
  const told = await answer.json();
  if (!answer.ok) throw new Refused(answer.status, told.message ?? `status ${answer.status}`);
  return told;
}

function login(why) {
  const dialog = $("login");
  if (why) $("login-why").textContent = why;
  if (!dialog.open) dialog.showModal();
}

$("login-form").addEventListener("submit", () => {
  sessionStorage.setItem(TOKEN, $("token").value);
  $("token").value = "";
  refresh();
  showRoutes();
});
// There is nothing to see without the token.
$("login").addEventListener("cancel", (event) => event.preventDefault());

function refused(error) {
  if (error instanceof Refused && error.status === 401) {
    login(sessionStorage.getItem(TOKEN) ? "That was not the token. Try again." : undefined);
    return;
  }
  notice(error instanceof Refused ? error.message : "The gateway does not answer.");
}

function notice(text, good = false) {
  $("notice").textContent = text ?? "";
  $("notice").classList.toggle("good", good);
  $("notice").hidden = !text;
}

// --- showing --------------------------------------------------------------------------------------

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const count = (number) => (number < 100000 ? whole.format(number) : short.format(number));
const share = (part, all) => (all > 0 ? `${whole.format((100 * part) / all)} %` : "–");

function age(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const at = Math.max(0, units.findIndex(([, size]) => seconds >= size));
  const [name, size] = units[seconds < 1 ? 3 : at];
  const first = Math.floor(seconds / size);
  const next = units[at + 1];
  const rest = next ? Math.floor((seconds % size) / next[1]) : 0;
  return rest > 0 ? `${first} ${name} ${rest} ${next[0]}` : `${first} ${name}`;
}

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/// Brings the children of `parent` into line with `items` and leaves those that stay in place, so
/// that neither focus nor what is being typed is lost.
function keep(parent, items, key, make, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let before = null;
  for (const item of items) {
    const name = String(key(item));
    let child = known.get(name);
    known.delete(name);
    if (!child) {
      child = make(item);
      child.dataset.key = name;
    }
    const place = before ? before.nextSibling : parent.firstChild;
    if (place !== child) parent.insertBefore(child, place);
    update(child, item);
    before = child;
  }
  for (const gone of known.values()) gone.remove();
}

function row(labels, classes = []) {
  const cells = labels.map((label, at) =>
    element(at === 0 ? "th" : "td", at === 0 ? { scope: "row" } : { "data-label": label, class: classes[at] ?? "" }));
  return element("tr", {}, ...cells);
}

function empty(body, text, columns) {
  const cell = element("td", { colspan: columns, class: "faint" }, text);
  body.replaceChildren(element("tr", {}, cell));
}

// --- now ------------------------------------------------------------------------------------------

let last = null;
const lines = { rate: [], error: [], connection: [], reuse: [] };

function total(status, field) {
  return status.workers.reduce((sum, worker) => sum + worker[field], 0);
}

function draw(name, value) {
  const line = lines[name];
  line.push(value);
  if (line.length > KEPT) line.shift();
  const most = Math.max(...line, name === "reuse" ? 1 : 0.001);
  const points = line.map((y, at) => {
    const x = 120 - (line.length - 1 - at) * (120 / (KEPT - 1));
    return `${x.toFixed(1)},${(30 - 27 * (y / most)).toFixed(1)}`;
  });
  $(`${name}-line`).firstElementChild.setAttribute("points", points.join(" "));
}

function showNow(status, seconds) {
  say($("version"), status.version);
  say($("driver"), status.driver);
  say($("uptime"), age(status.uptime_seconds));
  say($("listeners"), status.listeners.join(", "));
  const state = $("state");
  say(state, status.state);
  state.className = `pill ${status.state === "ready" ? "good" : "warn"}`;
  say($("connections"), count(total(status, "connections")));
  draw("connection", total(status, "connections"));
  if (seconds === null) return;
  const since = (field) => Math.max(0, total(status, field) - total(last, field));
  const rate = since("requests") / seconds;
  say($("rate"), count(rate));
  draw("rate", rate);
  say($("error-rate"), count(since("errors") / seconds));
  draw("error", since("errors") / seconds);
  const [made, used] = [since("upstream_connects"), since("upstream_reuses")];
  const all = made + used > 0 ? [made, used] : [total(status, "upstream_connects"), total(status, "upstream_reuses")];
  say($("reuse"), share(all[1], all[0] + all[1]));
  draw("reuse", all[0] + all[1] > 0 ? all[1] / (all[0] + all[1]) : 0);
}

function showWorkers(status, seconds) {
  const labels = ["Worker", "Load", "Requests/s", "Connections", "Requests", "Errors", "Completions/wait", "Longest stall"];
  const before = new Map((last?.workers ?? []).map((worker) => [worker.id, worker]));
  const rate = (worker) => seconds === null ? 0 :
    Math.max(0, worker.requests - (before.get(worker.id)?.requests ?? 0)) / seconds;
  const most = Math.max(1, ...status.workers.map(rate));
  keep($("workers"), status.workers, (worker) => worker.id, (worker) => {
    const made = row(labels, ["", "", "n", "n", "n", "n", "n", "n"]);
    const name = `Requests of worker ${worker.id} beside the busiest one's`;
    made.cells[1].append(element("meter", { min: 0, max: 1, value: 0, "aria-label": name }));
    return made;
  }, (made, worker) => {
    say(made.cells[0], `Worker ${worker.id}`);
    made.cells[1].firstChild.value = rate(worker) / most;
    [rate(worker), worker.connections, worker.requests, worker.errors]
      .forEach((value, at) => say(made.cells[at + 2], count(value)));
    const perWait = worker.completions_per_wait;
    say(made.cells[6], perWait === null ? "–" : perWait.toFixed(1));
    say(made.cells[7], worker.stalls > 0 ? `${count(worker.longest_stall_ms)} ms` : "–");
  });
}

// --- upstreams ------------------------------------------------------------------------------------

async function change(upstream, endpoint, what) {
  const path = `upstreams/${encodeURIComponent(upstream)}/endpoints/${encodeURIComponent(endpoint)}`;
  try {
    await ask(path, what);
    notice(`${upstream}, ${endpoint}: done. It outlasts reloads, but not a restart.`, true);
    refresh();
  } catch (error) {
    refused(error);
  }
}

const LABELS = ["Endpoint", "State", "Requests", "Failed", "In flight", "Reuse", "Weight"];

function makeEndpoint(upstream, endpoint) {
  const made = row(LABELS, ["", "", "n", "n", "n", "n", "n"]);
  made.cells[0].className = "mono";
  made.cells[1].append(element("span", { class: "pill" }));
  const name = `${upstream}, ${endpoint.address}`;
  const weight = element("input", {
    class: "weight", type: "number", min: 0, max: 1000000, "aria-label": `Weight of ${name}`,
    onchange: () => change(upstream, endpoint.address, { weight: weight.valueAsNumber }),
  });
  const drain = element("button", {
    type: "button", class: "plain",
    onclick: () => change(upstream, endpoint.address, { drain: drain.dataset.drain === "true" }),
  });
  made.cells[6].append(element("div", { class: "act" }, weight, drain));
  return made;
}

const KINDS = { healthy: "good", slow_start: "warn", draining: "warn", unhealthy: "bad", ejected: "bad" };

function updateEndpoint(made, endpoint, upstream) {
  say(made.cells[0], endpoint.target === endpoint.address ? endpoint.address : `${endpoint.target} (${endpoint.address})`);
  const pill = made.cells[1].firstChild;
  say(pill, endpoint.state.replace("_", " "));
  pill.className = `pill ${KINDS[endpoint.state] ?? ""}`;
  pill.title = endpoint.why ?? "";
  [count(endpoint.requests), count(endpoint.failures), count(endpoint.in_flight),
    share(endpoint.reuses, endpoint.reuses + endpoint.connects)]
    .forEach((text, at) => say(made.cells[at + 2], text));
  const [weight, drain] = made.cells[6].firstChild.children;
  if (document.activeElement !== weight) weight.value = endpoint.set_weight ?? endpoint.weight;
  const draining = endpoint.state === "draining";
  say(drain, draining ? "Use again" : "Drain");
  drain.setAttribute("aria-label", `${draining ? "Use again" : "Drain"}: ${upstream}, ${endpoint.address}`);
  drain.dataset.drain = String(!draining);
}

function showUpstreams(status) {
  if (status.upstreams.length === 0) {
    $("upstreams").replaceChildren(element("p", { class: "faint" }, "There are none."));
    return;
  }
  keep($("upstreams"), status.upstreams, (upstream) => upstream.name, (upstream) => {
    const heads = LABELS.map((label, at) => element("th", { scope: "col", class: at > 1 ? "n" : "" }, label));
    return element("article", { class: "card" },
      element("div", { class: "title" }, element("h3", {}, upstream.name), element("span", { class: "faint" }), element("span", { class: "pill" })),
      element("table", {}, element("thead", {}, element("tr", {}, ...heads)), element("tbody")));
  }, (card, upstream) => {
    const [, balance, pill] = card.firstChild.children;
    say(balance, upstream.balance.replace("_", " "));
    const used = upstream.endpoints.filter((endpoint) => endpoint.used).length;
    const all = upstream.endpoints.length;
    say(pill, `${used} of ${all} used`);
    pill.className = `pill ${used === all && all > 0 ? "good" : used > 0 ? "warn" : "bad"}`;
    const body = card.lastChild.tBodies[0];
    if (all === 0) empty(body, "None of its targets has an address for now.", 7);
    else {
      keep(body, upstream.endpoints, (endpoint) => endpoint.address,
        (endpoint) => makeEndpoint(upstream.name, endpoint),
        (made, endpoint) => updateEndpoint(made, endpoint, upstream.name));
    }
  });
}

// --- routes and explain ---------------------------------------------------------------------------

const SHOWN = 100;

async function showRoutes() {
  let told;
  try {
    told = await ask(`routes?limit=${SHOWN}&find=${encodeURIComponent($("find").value)}`);
  } catch (error) {
    refused(error);
    return;
  }
  const body = $("routes");
  if (told.routes.length === 0) empty(body, "No route has such a name.", 4);
  else {
    body.replaceChildren(...told.routes.map((route) => {
      const made = row(["Route", "Takes", "Does", "Filters"], ["", "mono", "", ""]);
      const takes = [route.hosts.join(", "), route.methods.join(" "), route.path, ...route.conditions];
      made.cells[0].append(route.name);
      made.cells[1].append(takes.filter(Boolean).join(" · ") || "everything");
      made.cells[2].append(`${route.action} ${route.to.join(", ")}`);
      made.cells[3].append(route.filters.join(", ") || "–");
      return made;
    }));
  }
  $("routes-more").hidden = told.total <= told.routes.length;
  say($("routes-more"), `${told.routes.length} of ${count(told.total)} are shown; write a part of the name to find others.`);
}

let typing;
$("find").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(showRoutes, 200);
});

function outcome(action) {
  const [kind, what] = Object.entries(action)[0];
  if (kind === "forward") return [["upstream", what.upstream], ["as", what.target], ["host", what.host]];
  if (kind === "redirect") return [["redirects", `${what.status} to ${what.location}`]];
  if (kind === "answered") return [["answered", `by filter ${what.by}: ${what.why}`]];
  if (kind === "respond") return [["answers", String(what.status)]];
  return [["refuses", `${what.status}: ${what.why}`]];
}

$("explain").addEventListener("submit", async (event) => {
  event.preventDefault();
  const list = $("explained");
  let told;
  try {
    told = await ask("explain", { method: $("explain-method").value, url: $("explain-url").value });
  } catch (error) {
    if (error instanceof Refused && error.status === 400) told = { action: { refuse: { status: 400, why: error.message } } };
    else {
      refused(error);
      return;
    }
  }
  const near = (told.passed_over ?? []).filter((passed) => passed.near);
  const lines = [
    ["route", told.route ?? "none"],
    ...near.map((passed) => ["passed over", `${passed.route}: ${passed.why}`]),
    ...(told.filters ?? []).map((filter) => ["filter", `${filter.name} ${filter.settings}`]),
    ...outcome(told.action),
  ];
  list.replaceChildren(...lines.flatMap(([name, text]) => [element("dt", {}, name), element("dd", { class: "mono" }, text)]));
  list.hidden = false;
});

// --- errors ---------------------------------------------------------------------------------------

const clock = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

async function showErrors() {
  const told = await ask("errors/recent");
  const body = $("errors");
  if (told.errors.length === 0) return empty(body, "None.", 5);
  const name = (error) => `${error.time} ${error.worker} ${error.request_id}`;
  const shown = new Map(told.errors.slice(0, SHOWN_ERRORS).map((error) => [name(error), error]));
  keep(body, [...shown.values()], name, (error) => {
    const made = row(["When", "Request", "Status", "What happened", "Where"], ["", "mono", "", "", ""]);
    const where = [error.route, error.endpoint ?? error.upstream].filter(Boolean).join(" → ");
    made.cells[0].append(clock.format(new Date(error.time * 1000)));
    made.cells[1].append(`${error.method} ${error.path}`);
    made.cells[2].append(error.status ? String(error.status) : "none");
    made.cells[3].append(error.message);
    made.cells[4].append(where || "–");
    return made;
  }, () => {});
}

const SHOWN_ERRORS = 20;

// --- reload ---------------------------------------------------------------------------------------

$("reload").addEventListener("click", async () => {
  $("reload").disabled = true;
  try {
    const told = await ask("reload", {});
    notice(`Reloaded in ${told.adopted_ms} ms: ${told.routes} routes, ${told.upstreams} upstreams, ${told.listeners} listeners.`, true);
    refresh();
    showRoutes();
  } catch (error) {
    refused(error);
  } finally {
    $("reload").disabled = false;
  }
});

// --- the clock ------------------------------------------------------------------------------------

let asking = false;
let lost = false;

async function refresh() {
  if (asking || $("login").open) return;
  asking = true;
  try {
    const status = await ask("status");
    // Another process answers by now: what it has counted says nothing beside the old one's.
    if (last && status.uptime_seconds < last.uptime_seconds) last = null;
    const seconds = last ? status.uptime_seconds - last.uptime_seconds : null;
    if (seconds === null || seconds > 0.2) {
      showNow(status, seconds);
      showWorkers(status, seconds);
      last = status;
    }
    showUpstreams(status);
    await showErrors();
    if (lost) notice();
    lost = false;
  } catch (error) {
    refused(error);
    lost = !(error instanceof Refused);
    if (lost) {
      say($("state"), "no answer");
      $("state").className = "pill bad";
    }
  } finally {
    asking = false;
  }
}

refresh();
showRoutes();
// A page that nobody looks at asks nothing.
setInterval(() => document.hidden || refresh(), EVERY);
document.addEventListener("visibilitychange", () => document.hidden || refresh());
