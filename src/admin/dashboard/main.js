// Tabs, the token, the theme, and asking again.

const EVERY_MS = 2000;
const HISTORY_MS = { "1h": 5000, "24h": 30000 };
const LATE_MS = 6000;

const state = { tab: "overview", paused: false, round: 0, histories: new Map(), answeredAt: 0, timer: null };
const views = {};

// ---- history, shared by the views and asked for no more often than it changes

async function historyOf(window) {
  const known = state.histories.get(window);
  if (known && performance.now() - known.at < HISTORY_MS[window]) return known.document;
  const document = await ask(`history?window=${window}`);
  state.histories.set(window, { at: performance.now(), document });
  return document;
}

// ---- asking again ---------------------------------------------------------------

async function refresh() {
  clearTimeout(state.timer);
  const round = (state.round += 1);
  try {
    const health = await views[state.tab].update(historyOf);
    if (round !== state.round) return;
    showLevel(health || (await ask("health")));
    state.answeredAt = Date.now();
    showLive("live", state.paused ? "paused" : "live");
    showLost(null);
    byId("forget").hidden = !storedToken();
    // A link carries no token.
    byId("machines").hidden = Boolean(storedToken());
  } catch (error) {
    if (round !== state.round) return;
    if (error instanceof Refused && error.status === 401) return showGate(storedToken() ? error.message : "");
    const words = error instanceof Refused ? error.message : "no answer";
    showLive("lost", words);
    showLost(words);
  }
  if (!state.paused && !document.hidden) state.timer = setTimeout(refresh, EVERY_MS);
}

function showLevel(health) {
  const level = byId("level");
  if (level.dataset.level !== health.status && level.dataset.level !== "unknown") {
    say(byId("announcer"), `Health is now ${health.status}: ${health.message}`);
  }
  level.dataset.level = health.status;
  level.title = `${health.score} of 100: ${health.message}`;
  say(byId("level-text"), health.status);
  document.title = health.status === "healthy" ? "Pannier" : `${SIGNS[health.status]} ${health.status} · Pannier`;
}

/** Says that the figures are old, and since when; `null`: they are not. */
function showLost(words) {
  const app = byId("app");
  const note = byId("lost");
  note.hidden = words === null;
  if (words === null) {
    delete app.dataset.lost;
    return;
  }
  app.dataset.lost = "";
  const since = state.answeredAt ? ` What is shown is from ${new Date(state.answeredAt).toLocaleTimeString()}.` : "";
  say(note, `Pannier does not answer (${words}).${since}`);
  byId("level").dataset.level = "unknown";
  say(byId("level-text"), "unknown");
  document.title = "✕ no answer · Pannier";
}

function showLive(kind, words) {
  byId("live").dataset.state = kind;
  say(byId("live-text"), words);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !byId("app").hidden) refresh();
});

setInterval(() => {
  const late = Date.now() - state.answeredAt;
  if (state.answeredAt && !state.paused && !document.hidden && late > LATE_MS) {
    const words = `no answer for ${Math.round(late / 1000)} s`;
    showLive("lost", words);
    showLost(words);
  }
}, 1000);

byId("pause").addEventListener("click", () => {
  state.paused = !state.paused;
  byId("pause").setAttribute("aria-pressed", String(state.paused));
  say(byId("pause"), state.paused ? "Resume" : "Pause");
  refresh();
});

// ---- tabs -------------------------------------------------------------------------

const tabs = [...document.querySelectorAll("[role=tab]")];

function choose(tab, andFocus) {
  for (const one of tabs) {
    const chosen = one === tab;
    one.setAttribute("aria-selected", String(chosen));
    one.tabIndex = chosen ? 0 : -1;
    byId(one.getAttribute("aria-controls")).hidden = !chosen;
  }
  state.tab = tab.id.replace("tab-", "");
  if (andFocus) tab.focus();
  tab.scrollIntoView({ block: "nearest", inline: "nearest" });
  keepAddress();
  if (!byId("app").hidden) refresh();
}

/** The tab, and how its table is sorted and filtered, in the address. */
function keepAddress() {
  const table = views[state.tab]?.table;
  const how = table ? table.address : "";
  const address = `#${state.tab}${how ? `?${how}` : ""}`;
  if (location.hash !== address) history.replaceState(null, "", address);
}

/** Takes both from the address. */
function takeAddress() {
  const [name, how = ""] = location.hash.slice(1).split("?");
  const tab = byId(`tab-${name}`);
  const table = views[name]?.table;
  if (table && table.address !== new URLSearchParams(how).toString()) table.address = how;
  if (tab && tab.getAttribute("aria-selected") !== "true") choose(tab);
}

for (const tab of tabs) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", (event) => {
    const at = tabs.indexOf(tab);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    choose(tabs[(next + tabs.length) % tabs.length], true);
  });
}

window.addEventListener("hashchange", takeAddress);

// ---- the token ----------------------------------------------------------------------

function showGate(wrong) {
  keepToken(null);
  byId("app").hidden = true;
  byId("gate").hidden = false;
  byId("forget").hidden = true;
  showLive("waiting", "needs the token");
  say(byId("gate-wrong"), wrong ? "That is not the token." : "");
  byId("gate-wrong").hidden = !wrong;
  byId("token").focus();
}

byId("gate-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = byId("token").value.trim();
  try {
    await ask("health", "GET", token);
  } catch (error) {
    const isToken = error instanceof Refused && error.status === 401;
    say(byId("gate-wrong"), isToken ? "That is not the token." : `No answer: ${error.message}`);
    byId("gate-wrong").hidden = false;
    byId("token").select();
    return;
  }
  keepToken(token);
  byId("token").value = "";
  showApp();
});

byId("forget").addEventListener("click", () => {
  clearTimeout(state.timer);
  state.round += 1;
  state.histories.clear();
  showGate("");
});

function showApp() {
  byId("gate").hidden = true;
  byId("app").hidden = false;
  refresh();
}

// ---- a confirmation before anything is changed ----------------------------------------

function confirmThen(title, words, verb, act) {
  const dialog = byId("confirm");
  say(byId("confirm-title"), title);
  say(byId("confirm-text"), words);
  say(byId("confirm-yes"), verb);
  byId("confirm-no").onclick = () => dialog.close();
  byId("confirm-yes").onclick = async () => {
    dialog.close();
    try {
      await act();
    } catch (error) {
      if (error instanceof Refused && error.status === 401) return showGate(error.message);
      say(byId("announcer"), error.message);
      showLive("lost", error.message);
      return;
    }
    refresh();
  };
  dialog.showModal();
  byId("confirm-no").focus();
}

// ---- the theme ------------------------------------------------------------------------

const THEMES = ["system", "light", "dark"];
const darkness = matchMedia("(prefers-color-scheme: dark)");

function keptTheme() {
  try {
    const kept = localStorage.getItem("pannier-theme");
    return THEMES.includes(kept) ? kept : "system";
  } catch {
    return "system";
  }
}

let theme = keptTheme();

function showTheme() {
  const dark = theme === "dark" || (theme === "system" && darkness.matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  document.documentElement.style.colorScheme = dark ? "dark" : "light";
  say(byId("theme"), `Theme: ${theme}`);
}

byId("theme").addEventListener("click", () => {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  try {
    localStorage.setItem("pannier-theme", theme);
  } catch {
    // Kept until the page is left.
  }
  showTheme();
});
darkness.addEventListener("change", showTheme);

// ---- the beginning ----------------------------------------------------------------------

showTheme();
const makers = { overview, endpoints, cache: caches, system, fleet };
for (const [name, maker] of Object.entries(makers)) {
  views[name] = maker(() => refresh());
  byId(`panel-${name}`).append(...views[name].element);
  if (views[name].table) views[name].table.onchange = keepAddress;
}
takeAddress();
showApp();
