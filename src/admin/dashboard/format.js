"use strict";
// Figures as people read them. Widths stay still: digits are tabular, and a
// figure keeps its number of decimals while its size stays alike.

const NONE = "–";

function group(number) {
  return number.toLocaleString("en-US", { maximumFractionDigits: 0 });
}

/** A count: whole below 100,000, then with k, M, G. */
function count(value) {
  if (value == null) return [NONE, ""];
  if (value < 100000) return [group(value), ""];
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= size) {
      const scaled = value / size;
      return [scaled.toFixed(scaled < 10 ? 2 : scaled < 100 ? 1 : 0), unit];
    }
  }
  return [group(value), ""];
}

/** A count that may be part of one. */
function tenths(value) {
  if (value == null || Number.isInteger(value) || value >= 100) return count(value == null ? value : Math.round(value));
  return [value.toFixed(1), ""];
}

function rate(value) {
  if (value == null) return [NONE, ""];
  return [value >= 100 ? group(value) : value.toFixed(1), "/s"];
}

function percent(value) {
  if (value == null) return [NONE, ""];
  const shown = value >= 99.95 || value === 0 ? value.toFixed(0) : value.toFixed(1);
  return [shown, "%"];
}

function bytes(value) {
  if (value == null) return [NONE, ""];
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let scaled = value;
  let at = 0;
  while (scaled >= 1000 && at < units.length - 1) {
    scaled /= 1024;
    at += 1;
  }
  return [at === 0 ? String(scaled) : scaled.toFixed(scaled < 100 ? 1 : 0), units[at]];
}

/** Milliseconds, with as many decimals as matter. */
function milliseconds(value) {
  if (value == null) return [NONE, ""];
  if (value >= 10000) return [(value / 1000).toFixed(1), "s"];
  if (value >= 100) return [group(value), "ms"];
  if (value >= 1) return [value.toFixed(1), "ms"];
  return [value === 0 ? "0" : value.toFixed(2), "ms"];
}

function span(seconds) {
  if (seconds == null) return [NONE, ""];
  const whole = Math.floor(seconds);
  const days = Math.floor(whole / 86400);
  const hours = Math.floor(whole / 3600) % 24;
  const minutes = Math.floor(whole / 60) % 60;
  if (days > 0) return [`${days} d ${hours} h`, ""];
  if (hours > 0) return [`${hours} h ${minutes} min`, ""];
  if (minutes > 0) return [`${minutes} min ${whole % 60} s`, ""];
  return [whole < 10 ? seconds.toFixed(1) : String(whole), "s"];
}

function text([figure, unit]) {
  return unit ? `${figure} ${unit}` : figure;
}

function ago(moment) {
  if (!moment) return "never";
  const seconds = Math.max(0, (Date.now() - Date.parse(moment)) / 1000);
  if (seconds < 5) return "now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return `${Math.floor(seconds / 3600)} h ago`;
}

function clock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
}

// ---- elements -------------------------------------------------------------

const SVG = "http://www.w3.org/2000/svg";

/** An element: attributes, `class`, `on…` functions and children, text as text. */
function make(name, attributes, ...children) {
  const element = document.createElement(name);
  dress(element, attributes);
  for (const child of children.flat()) {
    if (child != null) element.append(child);
  }
  return element;
}

function drawn(name, attributes, ...children) {
  const element = document.createElementNS(SVG, name);
  dress(element, attributes);
  element.append(...children);
  return element;
}

function dress(element, attributes) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value == null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
}

/** Shows a sentence; what stands between backticks as code. */
function tell(element, words) {
  if (element.dataset.told === words) return;
  element.dataset.told = words;
  element.replaceChildren(...words.split("`").map((part, at) => (at % 2 ? make("code", {}, part) : part)));
}

/** Changes a text only where it differs, so that selections and readers are left alone. */
function say(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

function byId(id) {
  return document.getElementById(id);
}
