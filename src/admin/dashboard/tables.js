// Tables that sort and filter, and keep both while their figures change.

class Table {
  /** `columns`: title, of(row) for sorting, show(row) for a cell's content, tone(row), left. */
  constructor(caption, columns, options = {}) {
    this.columns = columns;
    this.options = options;
    this.sorted = options.sorted || 0;
    this.descending = options.descending ?? true;
    this.rows = [];
    this.heads = columns.map((column, number) => this.head(column, number));
    this.body = make("tbody");
    this.filter = make("input", { type: "search", placeholder: options.filter || "Filter", "aria-label": options.filter || "Filter", oninput: () => this.changed() });
    this.note = make("span", { class: "note", role: "status" });
    this.none = make("p", { class: "empty" });
    this.table = make("table", { class: "sticky-first" }, make("caption", { class: "visually-hidden" }, caption), make("thead", {}, make("tr", {}, this.heads)), this.body);
    this.scroll = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, this.table);
    this.tools = make("div", { class: "table-tools" }, this.filter, this.note);
    this.element = make("div", {}, options.filter === null ? null : this.tools, this.scroll, this.none);
  }

  head(column, number) {
    const button = make("button", { type: "button", title: column.about, onclick: () => this.sort(number) }, column.title);
    const classes = [column.left ? "left" : "", column.width || ""].filter(Boolean).join(" ");
    return make("th", { scope: "col", class: classes || null, "aria-sort": "none" }, button);
  }

  sort(number) {
    if (this.sorted === number) this.descending = !this.descending;
    else {
      this.sorted = number;
      this.descending = !this.columns[number].left;
    }
    this.changed();
    say(byId("announcer"), `Sorted by ${this.columns[number].title}, ${this.descending ? "descending" : "ascending"}`);
  }

  /** Sort and filter, as they stand in the address; empty as they were made. */
  get address() {
    const parameters = new URLSearchParams();
    const isSorted = this.sorted !== (this.options.sorted || 0) || !this.descending;
    if (isSorted) parameters.set("sort", `${this.columns[this.sorted].title}${this.descending ? "" : " up"}`);
    if (this.filter.value.trim()) parameters.set("filter", this.filter.value.trim());
    return parameters.toString();
  }

  /** Takes sort and filter from an address. */
  set address(written) {
    const parameters = new URLSearchParams(written);
    const sort = parameters.get("sort");
    const number = this.columns.findIndex((column) => sort && column.title === sort.replace(/ up$/, ""));
    this.sorted = number < 0 ? this.options.sorted || 0 : number;
    this.descending = number < 0 ? this.options.descending ?? true : !sort.endsWith(" up");
    this.filter.value = parameters.get("filter") || "";
    this.draw();
  }

  changed() {
    this.draw();
    this.onchange?.();
  }

  show(rows) {
    this.rows = rows;
    this.draw();
  }

  draw() {
    const wanted = this.filter.value.trim().toLowerCase();
    const words = (row) => this.columns.filter((column) => column.left).map((column) => String(column.of(row))).join(" ").toLowerCase();
    const rows = this.rows.filter((row) => words(row).includes(wanted));
    const { of } = this.columns[this.sorted];
    const sign = this.descending ? -1 : 1;
    rows.sort((left, right) => {
      const [a, b] = [of(left) ?? -Infinity, of(right) ?? -Infinity];
      return sign * (typeof a === "string" ? a.localeCompare(b) : a - b);
    });
    this.heads.forEach((head, number) => {
      const order = this.descending ? "descending" : "ascending";
      head.setAttribute("aria-sort", number === this.sorted ? order : "none");
    });
    const shown = rows.slice(0, this.options.most || 200);
    this.fill(shown);
    say(this.note, this.rows.length === 0 ? "" : `${shown.length} of ${this.rows.length}`);
    const nothing = this.rows.length === 0 ? this.options.empty : "Nothing matches the filter.";
    say(this.none, rows.length === 0 ? nothing : "");
    this.none.hidden = rows.length > 0;
    this.scroll.hidden = this.rows.length === 0;
    this.tools.hidden = this.rows.length === 0;
  }

  /** Rows and cells are used again: nothing flickers, and what is focused stays. */
  fill(rows) {
    while (this.body.rows.length > rows.length) this.body.deleteRow(-1);
    while (this.body.rows.length < rows.length) {
      this.body.append(make("tr", {}, this.columns.map((column) => make("td", { class: column.left ? "left" : null }))));
    }
    rows.forEach((row, at) => {
      const cells = this.body.rows[at].cells;
      this.columns.forEach((column, number) => {
        const cell = cells[number];
        const content = column.show(row);
        const classes = [column.width || "", column.left ? "left" : "", column.mono ? "name" : "", column.tone ? column.tone(row) : ""].filter(Boolean).join(" ");
        if (cell.className !== classes) cell.className = classes;
        if (typeof content === "string") {
          if (cell.childElementCount > 0) cell.replaceChildren();
          say(cell, content);
          if (column.mono) cell.title = content;
        } else {
          const key = content.dataset ? content.dataset.key : undefined;
          if (key && cell.firstElementChild?.dataset.key === key) return;
          cell.replaceChildren(content);
        }
      });
    });
  }
}

/** A share as a bar, its figure beside it. */
function meter(share) {
  const width = Math.max(0, Math.min(100, share || 0));
  const bar = drawn("svg", { class: "meter", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
    drawn("rect", { width: width.toFixed(1), height: 6, rx: 2 }));
  return make("span", { "data-key": `meter ${width.toFixed(1)}` }, bar, make("span", { class: "share" }, text(percent(share))));
}
