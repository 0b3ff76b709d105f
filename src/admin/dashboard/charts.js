// Line charts in SVG over minutes. One chart is made once and then only told
// new figures; the pointer, and the arrow keys, read a minute off all lines.

const WIDTH = 600;
const HEIGHT = 188;
const LEFT = 46;
const RIGHT = 6;
const TOP = 8;
const BOTTOM = 22;
/** Seconds that a chart shows at least. */
const SPAN_MIN = 300;

/** A bound above `value` that is easy to halve: 1, 2, 3, 4, 6, 8 times a power of ten, or a power of two. */
function roundUp(value, step, binary) {
  if (value <= 0) return step;
  if (binary) return Math.max(step, 2 ** Math.ceil(Math.log2(value)));
  const size = 10 ** Math.floor(Math.log10(value));
  const factor = [1, 2, 3, 4, 6, 8, 10].find((one) => value <= one * size * 1.0001);
  return Math.max(step, factor * size);
}

class Chart {
  /** `lines`: name, format and of(history, at); the first may be filled. */
  constructor(title, lines, options = {}) {
    this.lines = lines;
    this.options = options;
    this.at = null;
    this.svg = drawn("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", tabindex: "0" });
    this.empty = make("div", { class: "chart-empty" });
    this.figures = lines.map(() => make("b"));
    const legend = lines.map((line, number) =>
      make("li", {}, make("span", { class: `key k${line.colour || number + 1}`, "aria-hidden": "true" }), line.name, " ", this.figures[number]));
    this.when = make("li");
    this.legend = make("ul", { class: "legend" }, legend, this.when);
    this.box = make("div", { class: "chart-box" }, this.svg, this.empty);
    this.element = make("section", { class: "panel" },
      make("header", {}, make("h2", {}, title), options.note ? make("span", { class: "note" }, options.note) : null),
      this.box, this.legend);
    this.title = title;
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => this.read(null));
    this.svg.addEventListener("blur", () => this.read(null));
    this.svg.addEventListener("keydown", (event) => this.step(event));
    new ResizeObserver(() => this.draw()).observe(this.box);
  }

  show(history) {
    this.history = history;
    this.draw();
  }

  /** The width in pixels is that of the drawing: text is not stretched. */
  draw() {
    const history = this.history;
    if (!history) return;
    this.width = Math.max(240, Math.round(this.box.clientWidth));
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${HEIGHT}`);
    const now = history.start.at(-1) + 60;
    // A process younger than the window has the width to itself.
    const youngest = Math.min(history.window_seconds, SPAN_MIN);
    this.from = Math.max(now - history.window_seconds, Math.min(history.start[0], now - youngest));
    this.to = now;
    this.values = this.lines.map((line) => history.start.map((_, at) => line.of(history, at)));
    const highest = Math.max(0, ...this.values.flat().filter((value) => value != null));
    const top = this.options.top || roundUp(highest, this.options.step || 1, this.options.binary);
    this.x = (seconds) => LEFT + (seconds - this.from) / (this.to - this.from) * (this.width - LEFT - RIGHT);
    this.y = (value) => HEIGHT - BOTTOM - Math.min(value, top) / top * (HEIGHT - TOP - BOTTOM);
    const parts = [...this.grid(top), ...this.paths(), ...this.cursor()];
    this.svg.replaceChildren(...parts);
    const quiet = highest === 0 && !history.requests.some((requests) => requests > 0);
    say(this.empty, quiet ? this.options.empty || "No requests in this window yet." : "");
    this.tell();
  }

  grid(top) {
    const parts = [];
    for (const share of [0, 0.5, 1]) {
      const y = Math.round(this.y(top * share)) + 0.5;
      parts.push(drawn("line", { class: share === 0 ? "axis" : "grid", x1: LEFT, x2: this.width - RIGHT, y1: y, y2: y }));
      const label = drawn("text", { x: LEFT - 8, y: y + 3.5, "text-anchor": "end" });
      label.textContent = text(this.lines[0].format(top * share)).replace(/\.0(?=\D|$)/, "");
      parts.push(label);
    }
    const room = (this.width - LEFT) / 70;
    const steps = [60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 14400, 21600];
    const step = steps.find((one) => (this.to - this.from) / one <= room) || 21600;
    const zone = new Date().getTimezoneOffset() * 60;
    const first = Math.ceil((this.from - zone) / step) * step + zone;
    for (let at = first; at <= this.to; at += step) {
      const x = this.x(at);
      if (x < LEFT + 14 || x > this.width - RIGHT - 14) continue;
      const label = drawn("text", { x, y: HEIGHT - 5, "text-anchor": "middle" });
      label.textContent = clock(at);
      parts.push(label);
    }
    return parts;
  }

  paths() {
    const parts = [];
    this.values.forEach((values, number) => {
      const points = [];
      values.forEach((value, at) => {
        if (value != null) points.push([this.x(this.middle(at)), this.y(value)]);
      });
      if (points.length === 0) return;
      const path = points.map(([x, y], at) => `${at ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
      const line = this.lines[number];
      if (line.fill) {
        const floor = this.y(0).toFixed(1);
        parts.unshift(drawn("path", { class: "fill", d: `${path}L${points.at(-1)[0].toFixed(1)} ${floor}L${points[0][0].toFixed(1)} ${floor}Z` }));
      }
      parts.push(drawn("path", { class: `s${line.colour || number + 1}`, d: path }));
      if (points.length === 1) {
        parts.push(drawn("circle", { class: `s${line.colour || number + 1}`, cx: points[0][0], cy: points[0][1], r: 3 }));
      }
    });
    return parts;
  }

  middle(at) {
    return Math.max(this.from, this.history.start[at] + this.history.seconds[at] / 2);
  }

  cursor() {
    if (this.at == null || this.at >= this.history.start.length) return [];
    const x = this.x(this.middle(this.at));
    const parts = [drawn("line", { class: "cursor", x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM })];
    this.values.forEach((values, number) => {
      const value = values[this.at];
      if (value != null) parts.push(drawn("circle", { class: `s${this.lines[number].colour || number + 1}`, cx: x, cy: this.y(value), r: 3.5 }));
    });
    return parts;
  }

  point(event) {
    if (!this.history) return;
    const box = this.svg.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * this.width;
    let nearest = 0;
    this.history.start.forEach((_, at) => {
      if (Math.abs(this.x(this.middle(at)) - x) < Math.abs(this.x(this.middle(nearest)) - x)) nearest = at;
    });
    this.read(nearest);
  }

  step(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (by === undefined || !this.history) return;
    event.preventDefault();
    const last = this.history.start.length - 1;
    const at = this.at == null ? last : this.at + by;
    this.read(Math.min(last, Math.max(0, at)));
  }

  read(at) {
    this.at = at;
    this.draw();
  }

  /** The legend says the minute read off, else the last whole one. */
  tell() {
    const { start } = this.history;
    const last = start.length > 1 ? start.length - 2 : start.length - 1;
    const at = this.at == null ? last : this.at;
    const words = this.lines.map((line, number) => {
      const value = this.values[number][at];
      const figure = value == null ? NONE : text(line.format(value));
      say(this.figures[number], figure);
      return `${line.name} ${figure}`;
    });
    say(this.when, this.at == null ? "" : `at ${clock(start[at])}`);
    this.svg.setAttribute("aria-label", `${this.title}, ${clock(start[at])}: ${words.join(", ")}`);
  }
}
