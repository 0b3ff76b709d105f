// Run by scripts/browser-test. Tells each step; ends with 1 at the first claim
// that does not hold, and leaves nothing running.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";

const { chromium } = createRequire(path.join(process.env.MODULES, "x.js"))("playwright-core");
const [flag, pictures, loadSeconds = "300"] = process.argv.slice(2);
const wantsPictures = flag === "--screenshots";
if (wantsPictures && !pictures) throw new Error("--screenshots needs a folder");
const folder = mkdtempSync(path.join(tmpdir(), "pannier-browser-"));
const children = [];
const servers = [];
const TOKEN = "not-a-secret-but-a-test";

const sleep = (millis) => new Promise((done) => setTimeout(done, millis));

async function eventually(what, probe, patience = 20000) {
  const until = Date.now() + patience;
  for (;;) {
    const found = await probe().catch(() => null);
    if (found) return found;
    if (Date.now() > until) throw new Error(`waited in vain for ${what}`);
    await sleep(50);
  }
}

function freePort() {
  return new Promise((done) => {
    const server = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

function start(program, args) {
  const child = spawn(program, args, { stdio: ["ignore", "ignore", "pipe"] });
  child.log = "";
  child.stderr.on("data", (piece) => (child.log = (child.log + piece).slice(-20000)));
  children.push(child);
  return child;
}

// ---- an application that is slow here and there ---------------------------------

function application() {
  const products = Array.from({ length: 40 }, (_, id) => ({ id, name: `Basket ${id}`, price: 20 + id, text: "willow ".repeat(40 + id * 12) }));
  const server = http.createServer((request, response) => {
    const url = new URL(request.url, "http://app");
    const answer = (millis, status, body, fields = {}) => setTimeout(() => {
      response.writeHead(status, { "Content-Type": "application/json", ...fields });
      response.end(status === 204 ? undefined : JSON.stringify(body));
    }, millis);
    if (request.method !== "GET") return answer(35, 204);
    const id = Number(url.pathname.match(/\/(\d+)$/)?.[1] ?? -1);
    if (url.pathname === "/api/products") return answer(90, 200, products.slice(0, 20), { "Cache-Control": "max-age=20", ETag: '"all"' });
    if (url.pathname.startsWith("/api/products/")) return answer(60 + id, 200, products[id % 40], { "Cache-Control": "max-age=45" });
    if (url.pathname.startsWith("/api/users/")) return answer(40, 200, { id, name: `User ${id}` }, { "Cache-Control": "private" });
    if (url.pathname === "/api/search") return answer(160, 200, { hits: [url.searchParams.get("q")] }, { "Cache-Control": "max-age=10", "Set-Cookie": "seen=1" });
    if (url.pathname === "/api/report") return Math.random() < 0.5 ? answer(300, 500, { error: "busy" }) : answer(450, 200, { done: true });
    return answer(12, 200, { path: url.pathname });
  });
  servers.push(server);
  return new Promise((done) => server.listen(0, "127.0.0.1", () => done(server.address().port)));
}

async function instance(name, { app, redis, token }) {
  const [data, admin] = [await freePort(), await freePort()];
  const file = path.join(folder, `${name}.toml`);
  writeFileSync(file, `
listen = "127.0.0.1:${data}"
upstream = "http://127.0.0.1:${app}"
[admin]
listen = "127.0.0.1:${admin}"
${token ? `token = "${token}"` : ""}
[memory]
bytes_max = "1MiB"
${redis ? `[redis]\nurl = "redis://127.0.0.1:${redis}"\nnamespace = "browser"\nlookup_timeout = "50ms"` : ""}
[[routes]]
path = "/api/products"
name = "product list"
stale_while_revalidate = "10s"
[[routes]]
path = "/api/products/{id}"
name = "products"
entries_max = 500
[[routes]]
path = "/api/users/{id}"
name = "users"
[[routes]]
path = "/api/search"
name = "search"
[[warm]]
paths = ["/api/products", "/api/products/1", "/api/products/2"]
host = "shop.example"
`);
  const child = start(process.env.PANNIER, ["run", "--config", file]);
  const url = `http://127.0.0.1:${admin}`;
  await eventually(`${name} to be ready: ${child.log}`, async () => (await fetch(`${url}/readyz`)).ok);
  return { data, url, child };
}

// ---- load -------------------------------------------------------------------------

const load = { running: true, answers: 0 };

function request(port, method, target) {
  return new Promise((done) => {
    const asked = http.request({ port, host: "127.0.0.1", method, path: target, headers: { Host: "shop.example" }, agent: load.agent }, (answer) => {
      answer.resume();
      answer.on("end", () => done((load.answers += 1)));
      answer.on("error", done);
    });
    asked.on("error", done);
    asked.end();
  });
}

async function customer(port, number) {
  const pick = () => Math.floor(40 * Math.random() ** 3);
  while (load.running) {
    const dice = Math.random();
    if (dice < 0.62) await request(port, "GET", `/api/products/${pick()}`);
    else if (dice < 0.78) await request(port, "GET", "/api/products");
    else if (dice < 0.86) await request(port, "GET", `/api/users/${pick()}`);
    else if (dice < 0.92) await request(port, "GET", `/api/search?q=basket${pick()}`);
    else if (dice < 0.985) await request(port, "GET", `/static/${pick()}`);
    else if (dice < 0.995) await request(port, "PUT", `/api/products/${pick()}`);
    else await request(port, "GET", "/api/report");
    const tide = 1 + Math.sin(Date.now() / 47000 + number / 5);
    await sleep(20 + 60 * tide * Math.random());
  }
}

// ---- the test ------------------------------------------------------------------------

async function main() {
  load.agent = new http.Agent({ keepAlive: true, maxSockets: 64 });
  const [app, redis] = [await application(), await freePort()];
  start("redis-server", ["--port", String(redis), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder]);
  await eventually("Redis", () => new Promise((done, fail) => {
    const socket = net.connect(redis, "127.0.0.1", () => { socket.end(); done(true); });
    socket.on("error", fail);
  }));
  const left = await instance("left", { app, redis });
  const right = await instance("right", { app, redis });
  const guarded = await instance("guarded", { app, token: TOKEN });
  for (let number = 0; number < 14; number += 1) customer(left.data, number);
  for (let number = 0; number < 4; number += 1) customer(right.data, number);
  await eventually("some answers", async () => load.answers > 300);

  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  try {
    await opensEveryTab(browser, left);
    await sortsAndFilters(browser, left);
    await invalidates(browser, left);
    await worksByKeyboard(browser, left);
    await asksForTheToken(browser, guarded);
    await isReadableEverywhere(browser, left);
    await readsChartsByPointer(browser, left);
    await keepsSortAndFilterInTheAddress(browser, left);
    await showsManyLongNames(browser, await crowded(app));
    await saysThatTheProxyIsGone(browser, await instance("doomed", { app }));
    if (wantsPictures) await takePictures(browser, left);
  } finally {
    await browser.close();
  }
}

/** A page that fails at the first error, warning or request to elsewhere. */
async function open(browser, at, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.troubles = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && page.troubles.push(message.text()));
  page.on("pageerror", (error) => page.troubles.push(String(error)));
  page.on("request", (asked) => {
    const url = asked.url();
    if (!url.startsWith(at.url) && !url.startsWith("data:")) page.troubles.push(`asked ${url}`);
  });
  await page.goto(`${at.url}/`);
  return page;
}

async function isCalm(page, but = /^$/) {
  const troubles = page.troubles.filter((words) => !but.test(words));
  assert.deepEqual(troubles, [], "the page has nothing to complain about");
  await page.context().close();
}

const tab = (page, name) => page.getByRole("tab", { name, exact: true });

async function opensEveryTab(browser, at) {
  const page = await open(browser, at);
  await page.getByText("of 100").waitFor();
  await page.locator("#live[data-state=live]").waitFor();
  const claims = {
    Overview: () => page.locator("#panel-overview .chart path").first().waitFor({ state: "attached" }),
    Endpoints: () => page.locator("#panel-endpoints").getByText("GET /api/products/{id}").waitFor(),
    Cache: () => page.locator("#panel-cache").getByText("product list").first().waitFor(),
    System: () => page.locator("#panel-system").getByText("Exchanges with the origin").waitFor(),
    Fleet: () => page.locator("#panel-fleet tbody tr").nth(1).waitFor(),
  };
  for (const [name, claim] of Object.entries(claims)) {
    await tab(page, name).click();
    await claim();
    assert.equal(await page.locator("[role=tabpanel]:visible").count(), 1);
    assert.equal(await tab(page, name).getAttribute("aria-selected"), "true");
  }
  await tab(page, "Cache").click();
  await page.locator("#panel-cache").getByText("set-cookie").first().waitFor();
  await page.locator("#panel-cache").getByText("private").first().waitFor();
  await page.getByRole("region", { name: "Top keys by misses" }).locator("tbody tr").first().waitFor();
  // Live: a figure moves without anyone touching the page.
  await tab(page, "Endpoints").click();
  const cell = page.locator("#panel-endpoints tbody tr", { hasText: "GET /api/products/{id}" }).locator("td").nth(1);
  const before = await cell.textContent();
  await eventually("the figures to move", async () => (await cell.textContent()) !== before);
  await isCalm(page);
  console.log("every tab opens, and its figures move");
}

async function sortsAndFilters(browser, at) {
  const page = await open(browser, at);
  await tab(page, "Endpoints").click();
  await page.locator("#panel-endpoints tbody tr").nth(3).waitFor();
  const column = async (number) => {
    const cells = await page.locator(`#panel-endpoints tbody tr td:nth-child(${number})`).allTextContents();
    return cells.map((words) => Number(words.replace(/[^\d.]/g, "")));
  };
  const heading = page.getByRole("columnheader", { name: "Requests" });
  assert.equal(await heading.getAttribute("aria-sort"), "descending");
  await eventually("descending counts", async () => isSorted(await column(2), -1));
  await heading.getByRole("button").click();
  assert.equal(await heading.getAttribute("aria-sort"), "ascending");
  await eventually("ascending counts", async () => isSorted(await column(2), 1));
  await page.getByPlaceholder("Filter by method or path").fill("products");
  await eventually("the filter to hold", async () => {
    const names = await page.locator("#panel-endpoints tbody tr td:first-child").allTextContents();
    return names.length > 0 && names.every((name) => name.includes("products"));
  });
  await isCalm(page);
  console.log("a table sorts both ways, and filters");
}

function isSorted(figures, sign) {
  return figures.length > 1 && figures.every((figure, at) => at === 0 || sign * (figure - figures[at - 1]) >= 0);
}

async function invalidates(browser, at) {
  const page = await open(browser, at);
  await tab(page, "Cache").click();
  const cell = page.locator("#panel-cache tbody tr", { hasText: "products" }).locator("td:nth-child(11)").first();
  await cell.waitFor();
  const figures = async () => (await (await fetch(`${at.url}/cache/stats`)).json()).caches.products;
  await eventually("something stored", async () => (await figures()).size > 3);
  const before = (await figures()).invalidations;
  await page.getByLabel("What").selectOption("route");
  await page.locator("#which-route").selectOption("products");
  await page.getByRole("button", { name: "Invalidate…" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("Invalidate route products?").waitFor();
  await dialog.getByRole("button", { name: "Leave it" }).click();
  assert.equal(await page.locator("#outcome").isVisible(), false, "nothing is done unasked");
  await page.getByRole("button", { name: "Invalidate…" }).click();
  await dialog.getByRole("button", { name: "Invalidate", exact: true }).click();
  await page.locator("#outcome[data-kind=done]").waitFor();
  await eventually("the counter to move", async () => (await figures()).invalidations > before);
  await eventually("the page to show it", async () => Number((await cell.textContent()).replace(/\D/g, "")) > before);
  await page.getByLabel("What").selectOption("pattern");
  await page.getByLabel("Pattern").fill("no slash");
  await page.getByRole("button", { name: "Invalidate…" }).click();
  await dialog.getByRole("button", { name: "Invalidate", exact: true }).click();
  await page.locator("#outcome[data-kind=failed]").waitFor();
  await isCalm(page, /400/);
  console.log("a route is invalidated after a question, and the counter moves");
}

async function worksByKeyboard(browser, at) {
  const page = await open(browser, at);
  await page.locator("#live[data-state=live]").waitFor();
  await tab(page, "Overview").focus();
  for (const name of ["Endpoints", "Cache", "System", "Fleet", "Overview"]) {
    await page.keyboard.press("ArrowRight");
    assert.equal(await tab(page, name).getAttribute("aria-selected"), "true");
    assert.equal(await tab(page, name).evaluate((one) => document.activeElement === one), true);
  }
  const chart = page.locator("#panel-overview .chart").first();
  await chart.focus();
  await page.keyboard.press("ArrowLeft");
  assert.match(await chart.getAttribute("aria-label"), /Requests, \d\d:\d\d: all (.*\/s|–)/);
  // Everything that can be used has a name.
  const nameless = await page.evaluate(() => [...document.querySelectorAll("button, input, select, a, [role=img]")]
    .filter((one) => !(one.getAttribute("aria-label") || one.textContent.trim() || one.labels?.length))
    .map((one) => one.outerHTML));
  assert.deepEqual(nameless, []);
  await isCalm(page);
  console.log("tabs and charts work by keyboard, and everything has a name");
}

async function asksForTheToken(browser, at) {
  const page = await open(browser, at);
  await page.getByRole("heading", { name: "Admin token" }).waitFor();
  await page.locator("#token").fill("wrong");
  await page.keyboard.press("Enter");
  await page.getByText("That is not the token.").waitFor();
  await page.locator("#token").fill(TOKEN);
  await page.keyboard.press("Enter");
  await page.getByText("of 100").waitFor();
  assert.deepEqual(await page.context().cookies(), [], "no cookie");
  await page.reload();
  await page.getByText("of 100").waitFor();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Admin token" }).waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  await isCalm(page, /401/);
  console.log("the token is asked for, kept for the tab, and forgotten");
}

const LOOKS = [
  ["light", { colorScheme: "light" }],
  ["dark", { colorScheme: "dark" }],
  ["phone", { colorScheme: "light", viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true }],
  ["phone-dark", { colorScheme: "dark", viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true }],
];

async function isReadableEverywhere(browser, at) {
  for (const [look, options] of LOOKS) {
    const page = await open(browser, at, options);
    for (const name of ["Overview", "Endpoints", "Cache", "System", "Fleet"]) {
      await tab(page, name).click();
      await page.locator("#live[data-state=live]").waitFor();
      await sleep(300);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(wide <= 0, `${name} in ${look} is ${wide} px too wide`);
      const faint = await page.evaluate(contrast);
      assert.deepEqual(faint, [], `${name} in ${look}: too little contrast`);
    }
    await isCalm(page);
  }
  console.log("light, dark and at 390 px: nothing overflows, everything has contrast");
}

/** Runs in the page: texts with less contrast than WCAG 2 asks for (AA). */
function contrast() {
  const parse = (colour) => {
    const parts = colour.match(/[\d.]+/g).map(Number);
    return { rgb: parts.slice(0, 3), alpha: parts[3] ?? 1 };
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((part) => part / 255).map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const { rgb, alpha } = parse(getComputedStyle(one).backgroundColor);
      if (alpha > 0.99) return rgb;
    }
    return [255, 255, 255];
  };
  const faint = new Set();
  for (const element of document.querySelectorAll("body *")) {
    const hasText = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!hasText || !element.checkVisibility() || element.closest("svg")) continue;
    const style = getComputedStyle(element);
    const [front, back] = [light(parse(style.color).rgb), light(behind(element))];
    const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    if (ratio < 4.5) faint.add(`${element.textContent.trim().slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return [...faint];
}

async function readsChartsByPointer(browser, at) {
  for (const width of [1280, 768, 390]) {
    const page = await open(browser, at, { viewport: { width, height: 900 } });
    await page.locator("#live[data-state=live]").waitFor();
    const chart = page.locator("#panel-overview .chart").first();
    await chart.scrollIntoViewIfNeeded();
    const box = await chart.boundingBox();
    await page.mouse.move(box.x + box.width - 12, box.y + box.height / 2);
    await page.locator("#panel-overview .chart .cursor").first().waitFor({ state: "attached" });
    await page.locator("#panel-overview .legend", { hasText: /at \d\d:\d\d/ }).first().waitFor();
    await page.mouse.move(1, 1);
    await eventually("the cursor to go", async () => (await page.locator("#panel-overview .chart .cursor").count()) === 0);
    await page.getByText(/times in .* \(UTC/).first().waitFor();
    await isCalm(page);
  }
  console.log("a pointer reads a minute off a chart, at three widths");
}

async function keepsSortAndFilterInTheAddress(browser, at) {
  const page = await open(browser, at);
  await tab(page, "Endpoints").click();
  await page.locator("#panel-endpoints tbody tr").nth(3).waitFor();
  await page.getByRole("columnheader", { name: /^p95/ }).getByRole("button").click();
  await page.getByPlaceholder("Filter by method or path").fill("products");
  const address = await eventually("both in the address", async () => {
    const found = await page.evaluate(() => location.href);
    return /#endpoints\?sort=p95&filter=products$/.test(found) && found;
  });
  const again = await page.context().newPage();
  await again.goto(address);
  await again.locator("#panel-endpoints tbody tr").first().waitFor();
  assert.equal(await again.getByPlaceholder("Filter by method or path").inputValue(), "products");
  assert.equal(await again.getByRole("columnheader", { name: /^p95/ }).getAttribute("aria-sort"), "descending");
  await isCalm(page);
  console.log("sort and filter are in the address");
}

/** A proxy that was asked for 300 endpoints, with long names. */
async function crowded(app) {
  const at = await instance("crowded", { app });
  const letters = "abcdefghij";
  for (let number = 0; number < 300; number += 1) {
    const word = [...String(number)].map((digit) => letters[digit]).join("");
    await request(at.data, "GET", `/api/${word}/${"a-name-that-goes-on-and-on-".repeat(5)}end`);
  }
  return at;
}

async function showsManyLongNames(browser, at) {
  for (const width of [1280, 768, 390]) {
    const page = await open(browser, at, { viewport: { width, height: 900 } });
    await tab(page, "Endpoints").click();
    await page.locator("#panel-endpoints tbody tr").nth(150).waitFor();
    const scroll = await page.locator("#panel-endpoints .scroll").evaluate((one) => one.scrollWidth - one.clientWidth);
    assert.ok(scroll <= 0, `figures are pushed off the table by ${scroll} px at ${width} px`);
    for (const name of ["Requests", "5xx", "p95"]) {
      const heading = page.getByRole("columnheader", { name: new RegExp(`^${name}`) });
      const box = await heading.boundingBox();
      assert.ok(box && box.x >= 0 && box.x + box.width <= width, `${name} is in sight at ${width} px`);
    }
    await isCalm(page);
  }
  console.log("300 endpoints with long names leave their figures in sight, at three widths");
}

async function saysThatTheProxyIsGone(browser, at) {
  const page = await open(browser, at);
  await page.locator("#live[data-state=live]").waitFor();
  await page.locator(".indicators li[data-level=unjudged]").first().waitFor();
  at.child.kill("SIGSTOP");
  await page.locator("#lost").waitFor({ timeout: 15000 });
  assert.match(await page.locator("#lost").textContent(), /does not answer.*What is shown is from/);
  assert.equal(await page.locator("#level").getAttribute("data-level"), "unknown");
  assert.match(await page.title(), /no answer/);
  at.child.kill("SIGCONT");
  await page.locator("#live[data-state=live]").waitFor();
  await page.locator("#lost").waitFor({ state: "hidden" });
  at.child.kill("SIGKILL");
  await page.locator("#lost").waitFor();
  await isCalm(page, /ERR_|Failed to load/);
  console.log("a proxy that hangs or is gone is shown as such");
}

async function takePictures(browser, at) {
  console.log(`pictures after ${loadSeconds} s of load`);
  await sleep(Number(loadSeconds) * 1000);
  mkdirSync(pictures, { recursive: true });
  const wanted = {
    light: ["Overview", "Endpoints", "Cache", "System", "Fleet"],
    dark: ["Overview", "Endpoints", "Cache", "System", "Fleet"],
    phone: ["Overview", "Endpoints"],
    "phone-dark": ["Overview"],
  };
  for (const [look, options] of LOOKS) {
    // As high as its content: the least that a page has.
    const viewport = { ...(options.viewport ?? { width: 1280 }), height: 480 };
    const page = await open(browser, at, { ...options, viewport });
    for (const name of wanted[look]) {
      await tab(page, name).click();
      await sleep(1500);
      const file = path.join(pictures, `${name.toLowerCase()}-${look}.png`);
      await page.screenshot({ path: file, fullPage: true, scale: "css" });
    }
    await page.context().close();
  }
}

function stop() {
  load.running = false;
  for (const child of children) child.kill("SIGKILL");
  for (const server of servers) server.close();
  load.agent?.destroy();
  rmSync(folder, { recursive: true, force: true });
}

try {
  await main();
  console.log("the dashboard holds");
} catch (error) {
  console.error(error);
  for (const child of children) if (child.spawnargs[0].includes("pannier")) console.error(child.log.slice(-1500));
  process.exitCode = 1;
} finally {
  stop();
  setTimeout(() => process.exit(process.exitCode ?? 0), 200);
}
