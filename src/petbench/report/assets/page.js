"use strict";

/* Sortable tables: a heading's button sorts the best first, then the other way round; without a better side the least comes first.
   Values that are not numbers sort as text, unknown ones go last. */
function sortKey(cell) {
  const text = cell.dataset.value ?? cell.textContent.trim();
  const value = Number(text);
  return text === "" || text === "nan" || text === "–" || text === "n/a" ? null : Number.isNaN(value) ? text : value;
}

function compareKeys(a, b, sign) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a === "number" && typeof b === "number") return sign * (a - b);
  return sign * String(a).localeCompare(String(b), "en", { numeric: true });
}

function sortTable(heading) {
  const table = heading.closest("table");
  const headings = [...heading.parentNode.children];
  const column = headings.indexOf(heading);
  const better = heading.dataset.better;
  const first = better === "higher" ? "descending" : "ascending";
  const order = heading.getAttribute("aria-sort") === first ? (first === "ascending" ? "descending" : "ascending") : first;
  const sign = order === "ascending" ? 1 : -1;
  const target = better === "zero" || better === "one" ? (key) => (typeof key === "number" ? Math.abs(key - (better === "one")) : key) : (key) => key;
  const rows = [...table.tBodies[0].rows].map((row) => ({ row, key: target(sortKey(row.cells[column])) }));
  rows.sort((a, b) => compareKeys(a.key, b.key, sign));
  table.tBodies[0].append(...rows.map(({ row }) => row));
  for (const other of headings) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", order);
}

for (const button of document.querySelectorAll("table.sortable th button")) {
  button.addEventListener("click", () => sortTable(button.closest("th")));
}

/* On paper nothing is closed, and a wide table shrinks until all its columns fit a landscape page. */
const PAGE_WIDTH = 1000;
window.addEventListener("beforeprint", () => {
  for (const closed of document.querySelectorAll("main details:not([open])")) closed.open = closed.dataset.closed = true;
  for (const wide of document.querySelectorAll(".scroll table")) {
    wide.style.width = "max-content";
    wide.style.zoom = Math.min(1, PAGE_WIDTH / wide.scrollWidth);
  }
});
window.addEventListener("afterprint", () => {
  for (const opened of document.querySelectorAll("details[data-closed]")) { opened.open = false; delete opened.dataset.closed; }
  for (const wide of document.querySelectorAll(".scroll table")) wide.style.width = wide.style.zoom = "";
});

/* The entry of the contents whose section is on screen. */
if ("IntersectionObserver" in window) {
  const links = new Map([...document.querySelectorAll(".aside a")].map((link) => [link.hash.slice(1), link]));
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(entry.target.id).setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-10% 0px -75% 0px" });
  for (const id of links.keys()) watch.observe(document.getElementById(id));
}

/* Slice viewer: each volume is one sheet of tiles, decoded when it is first shown. */
const data = document.getElementById("viewer-data");
if (data) startViewer(JSON.parse(data.textContent));

function startViewer({ sheets, items }) {
  const at = (id) => document.getElementById(id);
  const subject = at("viewer-subject"), dose = at("viewer-dose"), left = at("viewer-left"), right = at("viewer-right");
  const slider = at("viewer-slice"), error = at("viewer-error");
  const decoded = new Map();
  let drawing = 0;

  const subjectOf = (item) => `${item.dataset}, ${item.subject}`;
  const current = () => items.find((item) => subjectOf(item) === subject.value && item.dose === dose.value);

  function fill(select, choices, wanted) {
    select.replaceChildren(...choices.map(([value, text]) => new Option(text, value)));
    if (choices.some(([value]) => value === wanted)) select.value = wanted;
  }

  const rounded = (value, digits) => Number(value.toPrecision(digits));

  async function pixels(number) {
    if (!decoded.has(number)) {
      if (decoded.size >= 12) decoded.delete(decoded.keys().next().value);
      const picture = new Image();
      picture.src = sheets[number];
      await picture.decode();
      const canvas = document.createElement("canvas");
      canvas.width = picture.naturalWidth;
      canvas.height = picture.naturalHeight;
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(picture, 0, 0);
      decoded.set(number, { width: canvas.width, bytes: context.getImageData(0, 0, canvas.width, canvas.height).data });
    }
    return decoded.get(number);
  }

  /* One slice in image units: the high byte of each code is the red channel, the low byte the green one. */
  async function tile(item, volume, slice) {
    const sheet = await pixels(volume.sheet);
    const values = new Float32Array(item.width * item.height);
    const top = Math.floor(slice / item.columns) * item.height, side = (slice % item.columns) * item.width;
    for (let y = 0; y < item.height; y++) {
      for (let x = 0; x < item.width; x++) {
        const place = 4 * ((top + y) * sheet.width + side + x);
        values[y * item.width + x] = volume.offset + volume.step * (256 * sheet.bytes[place] + sheet.bytes[place + 1]);
      }
    }
    return values;
  }

  /* Blue, white, red, as ColorBrewer's RdBu: apart for colour-blind readers, neutral at zero. */
  const stops = [[5, 48, 97], [67, 147, 195], [247, 247, 247], [214, 96, 77], [103, 0, 31]];
  function diverging(value) {
    const place = Math.min(3.9999, Math.max(0, (value + 1) * 2));
    const low = stops[Math.floor(place)], high = stops[Math.floor(place) + 1], part = place % 1;
    return low.map((channel, index) => channel + part * (high[index] - channel));
  }

  function paint(canvas, item, colour) {
    canvas.width = item.width;
    canvas.height = item.height;
    canvas.style.aspectRatio = `${item.width} / ${item.height * item.aspect}`;
    const image = new ImageData(item.width, item.height);
    for (let i = 0; i < item.width * item.height; i++) {
      const [red, green, blue] = colour(i);
      image.data.set([red, green, blue, 255], 4 * i);
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  async function draw() {
    const turn = ++drawing;
    const item = current();
    const find = (method) => item.volumes.find((volume) => volume.method === method);
    const one = find(left.value), two = find(right.value), slice = Number(slider.value) - 1;
    const [a, b] = await Promise.all([tile(item, one, slice), tile(item, two, slice)]);
    if (turn !== drawing) return; /* a later request has overtaken this one */
    /* Rounded before they are used, so that the bars say exactly where black and the colours end. */
    const full = rounded(item.window / item.unit_size, 3), limit = rounded(full / 4, 2);
    const grey = (values) => (i) => {
      const level = 255 * (1 - Math.min(1, Math.max(0, values[i] / item.unit_size / full)));
      return [level, level, level];
    };
    paint(at("canvas-left"), item, grey(a));
    paint(at("canvas-right"), item, grey(b));
    at("caption-left").textContent = one.title;
    at("caption-right").textContent = two.title;
    at("figure-error").hidden = error.getAttribute("aria-pressed") !== "true";
    paint(at("canvas-error"), item, (i) => diverging((a[i] - b[i]) / item.unit_size / limit));
    at("caption-error").textContent = `${one.title} − ${two.title}`;
    const place = `${slice + 1} of ${item.slices}`;
    at("viewer-place").textContent = place;
    slider.setAttribute("aria-valuetext", place);
    for (const [id, what] of [["canvas-left", one.title], ["canvas-right", two.title], ["canvas-error", "Error map"]]) {
      at(id).setAttribute("aria-label", `${what}, slice ${place}`);
    }
    at("bar-grey").textContent = `0 to ${full} ${item.unit}`;
    at("bar-error").textContent = `error, ≤ −${limit} to ≥ ${limit} ${item.unit}`;
    at("viewer").dataset.slice = String(slice + 1);
  }

  function choose() {
    fill(dose, items.filter((item) => subjectOf(item) === subject.value).map((item) => [item.dose, item.dose]), dose.value);
    const item = current();
    const choices = item.volumes.map((volume) => [volume.method, volume.title]);
    const restored = choices.find(([method]) => !["low_dose", "standard_dose", "true_activity"].includes(method)) ?? choices[0];
    fill(left, choices, choices.some(([method]) => method === left.value) ? left.value : restored[0]);
    fill(right, choices, right.value || "standard_dose");
    const middle = Math.ceil(item.slices / 2);
    slider.max = String(item.slices);
    slider.value = String(slider.dataset.touched ? Math.min(item.slices, Number(slider.value)) : middle);
    draw();
  }

  function step(change) {
    slider.dataset.touched = "yes";
    const before = slider.value;
    slider.value = String(Number(slider.value) + change);
    if (slider.value === before) return false;
    draw();
    return true;
  }

  fill(subject, [...new Set(items.map(subjectOf))].map((name) => [name, name]));
  subject.addEventListener("change", choose);
  dose.addEventListener("change", choose);
  left.addEventListener("change", draw);
  right.addEventListener("change", draw);
  slider.addEventListener("input", () => { slider.dataset.touched = "yes"; draw(); });
  error.addEventListener("click", () => {
    error.setAttribute("aria-pressed", String(error.getAttribute("aria-pressed") !== "true"));
    draw();
  });
  const keys = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10, Home: -Infinity, End: Infinity };
  at("viewer").addEventListener("keydown", (event) => {
    /* The slider and the lists have arrow keys of their own. */
    if (!(event.key in keys) || event.target.matches("select, input") || event.ctrlKey || event.metaKey || event.altKey) return;
    const change = keys[event.key];
    step(Number.isFinite(change) ? change : change > 0 ? slider.max - slider.value : 1 - slider.value);
    event.preventDefault();
  });
  let turned = 0;
  document.querySelector(".canvases").addEventListener("wheel", (event) => {
    if (event.ctrlKey || !event.deltaY) return;
    turned += event.deltaMode === 0 ? event.deltaY / 40 : event.deltaY;
    const whole = Math.trunc(turned);
    turned -= whole;
    const atEnd = event.deltaY > 0 ? slider.value === slider.min : slider.value === slider.max;
    if (whole) step(-Math.sign(whole));
    if (!atEnd) event.preventDefault(); /* at the last slice the page scrolls on */
  }, { passive: false });
  choose();
}
