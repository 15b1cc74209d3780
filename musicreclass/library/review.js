"use strict";
const page = JSON.parse(document.getElementById("data").textContent);
const files = page.files; // [path, audio, genre, confidence, [[genre, confidence], ...], reason, error, surprise, name of a track, suggested?]
const [PATH, AUDIO, GENRE, CONFIDENCE, TOP, REASON, ERROR, SURPRISE, NAME, SUGGESTED] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
const SHOWN = 200;
const element = (id) => document.getElementById(id);
const storageKey = "musicreclass review " + page.key;
const read = () => { try { return JSON.parse(localStorage.getItem(storageKey)) || {}; } catch { return {}; } };
let corrections = { ...page.checked, ...read() }; // path -> genre; those of the table may be of files that this page does not show
let history = [];
let selected = [];
let current = -1;

const counted = (number, one) => number + " " + one + (number === 1 ? "" : "s");
const percent = (value) => value === null ? "" : (100 * value).toFixed(0) + " %";
const nameOf = (file) => file[NAME] || file[PATH].slice(file[PATH].lastIndexOf("/") + 1);
const folderOf = (path) => path.slice(0, path.lastIndexOf("/"));
const isDone = (file) => Object.hasOwn(corrections, file[PATH]);
const genreOf = (file) => isDone(file) ? corrections[file[PATH]] : file[GENRE];

const accepted = (file) => genreOf(file) === page.unknown && file[TOP].length ? file[TOP][0][0] : genreOf(file);

const certainty = (file) => (file[CONFIDENCE] ?? 2) - (file[GENRE] === page.unknown ? 1 : 0); // unknown files come first

function add(parent, name, text, attributes = {}) {
  const child = document.createElement(name);
  if (text !== undefined) child.textContent = text;
  for (const [key, value] of Object.entries(attributes)) child.setAttribute(key, value);
  parent.append(child);
  return child;
}

function save() {
  try { localStorage.setItem(storageKey, JSON.stringify(corrections)); }
  catch { element("summary").textContent = "The browser does not store corrections for this page: export them before closing it."; }
}

function orders() {
  return {
    uncertain: (a, b) => certainty(a) - certainty(b),
    certain: (a, b) => (b[CONFIDENCE] ?? -1) - (a[CONFIDENCE] ?? -1),
    surprising: (a, b) => b[SURPRISE] - a[SURPRISE] || certainty(a) - certainty(b),
    suggested: (a, b) => (a[SUGGESTED] ?? Infinity) - (b[SUGGESTED] ?? Infinity) || 0,
    path: (a, b) => a[PATH] < b[PATH] ? -1 : 1,
  };
}

function select(keep) {
  const text = element("search").value.toLowerCase(), genre = element("genre").value, show = element("show").value;
  const wanted = {
    open: (file) => !file[ERROR] && !isDone(file), all: () => true, done: isDone,
    changed: (file) => isDone(file) && corrections[file[PATH]] !== file[GENRE], errors: (file) => file[ERROR] !== "",
  }[show];
  selected = files.filter((file) => wanted(file) && (!genre || genreOf(file) === genre) && (file[PATH] + "/" + file[NAME]).toLowerCase().includes(text));
  selected.sort(orders()[element("order").value]);
  const position = keep === undefined ? 0 : Math.min(keep, selected.length - 1);
  open(selected.length ? position : -1);
}

function open(position) {
  current = position;
  const file = selected[current];
  element("player").hidden = file === undefined;
  if (file !== undefined) {
    element("name").textContent = nameOf(file);
    element("folder").textContent = folderOf(file[PATH]);
    const audio = element("audio"), playing = !audio.paused;
    audio.src = file[AUDIO];
    if (playing) audio.play().catch(() => {});
    element("guess").textContent = file[ERROR] || [file[GENRE] + (file[CONFIDENCE] === null ? "" : ", " + percent(file[CONFIDENCE])),
      file[REASON], isDone(file) ? "reviewed: " + corrections[file[PATH]] : ""].filter(Boolean).join(" · ");
    choices(file);
  }
  list();
}

function choices(file) {
  const box = element("choices");
  box.replaceChildren();
  const first = file[TOP].map(([genre]) => genre);
  const rest = page.genres.filter((genre) => !first.includes(genre));
  [...first, ...rest].forEach((genre, number) => {
    const share = file[TOP].find(([name]) => name === genre);
    const text = (number < 9 ? number + 1 + " " : "") + genre + (share ? " " + percent(share[1]) : "");
    const button = add(box, "button", text, { type: "button", "aria-pressed": genreOf(file) === genre, class: share ? "" : "more" });
    button.addEventListener("click", () => decide(genre));
  });
  const other = add(box, "button", "other ...", { type: "button", class: "more" });
  other.addEventListener("click", () => { const genre = (prompt("Genre") || "").trim(); if (genre) decide(genre); });
}

function decide(genre) {
  const file = selected[current];
  if (file === undefined) return;
  history.push([file[PATH], corrections[file[PATH]]]);
  corrections[file[PATH]] = genre;
  if (!page.genres.includes(genre)) page.genres.push(genre);
  save();
  overview();
  select(element("show").value === "open" ? current : current + 1);
}

function undo() {
  const step = history.pop();
  if (step === undefined) return;
  const [path, before] = step;
  if (before === undefined) delete corrections[path]; else corrections[path] = before;
  save();
  overview();
  select();
  const position = selected.findIndex((file) => file[PATH] === path);
  if (position >= 0) open(position);
}

function list() {
  const rows = element("rows"), start = Math.max(0, Math.min(current - SHOWN / 2, selected.length - SHOWN));
  rows.replaceChildren();
  selected.slice(start, start + SHOWN).forEach((file, number) => {
    const row = add(rows, "tr", undefined, { "aria-current": start + number === current });
    add(row, "td", nameOf(file), { title: file[PATH] });
    add(row, "td", file[ERROR] ? "error" : genreOf(file), { class: isDone(file) ? "done" : "" });
    add(row, "td", percent(file[CONFIDENCE]), { class: "number" });
    row.addEventListener("click", () => open(start + number));
  });
  const hidden = selected.length - Math.min(SHOWN, selected.length);
  element("more").textContent = selected.length ? (hidden ? counted(hidden, "more file") : "") : "No files: change the filter.";
}

function overview() {
  const counts = new Map(), bins = new Array(20).fill(0);
  for (const file of files) {
    if (file[ERROR]) continue;
    counts.set(genreOf(file), (counts.get(genreOf(file)) || 0) + 1);
    bins[Math.min(19, Math.floor(20 * file[CONFIDENCE]))] += 1;
  }
  const most = Math.max(1, ...counts.values()), box = element("genres");
  box.replaceChildren();
  for (const [genre, count] of [...counts].sort((a, b) => b[1] - a[1])) {
    const button = add(box, "button", undefined, { type: "button", title: "show " + genre });
    add(button, "span", genre);
    add(add(button, "span"), "div", undefined, { class: "bar" }).style.width = 100 * count / most + "%";
    add(button, "span", String(count));
    button.addEventListener("click", () => { element("genre").value = genre; element("show").value = "all"; select(); });
  }
  const highest = Math.max(1, ...bins), histogram = element("histogram");
  histogram.replaceChildren();
  bins.forEach((count, bin) => {
    const title = 5 * bin + " to " + 5 * (bin + 1) + " %: " + counted(count, "file");
    add(histogram, "div", undefined, { title }).style.height = 100 * count / highest + "%";
  });
  const errors = files.filter((file) => file[ERROR]).length, done = files.filter(isDone);
  const changed = done.filter((file) => corrections[file[PATH]] !== file[GENRE]).length;
  element("summary").textContent = counted(files.length, "file") + ", " + counted(errors, "error") + "; " + done.length + " reviewed, " +
    changed + " changed";
  const genre = element("genre"), value = genre.value;
  genre.replaceChildren();
  add(genre, "option", "all", { value: "" });
  for (const name of [...counts.keys()].sort()) add(genre, "option", name, { value: name });
  genre.value = value;
}

const quoted = (text) => /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;

function exportCorrections() {
  const predicted = new Map([...Object.entries(page.checked), ...files.map((file) => [file[PATH], file[GENRE]])]);
  const lines = [...predicted].filter(([path]) => Object.hasOwn(corrections, path))
    .map(([path, genre]) => [path, corrections[path], genre].map(quoted).join(","));
  const blob = new Blob([["path,genre,predicted", ...lines].join("\r\n") + "\r\n"], { type: "text/csv" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = page.name + "-corrections.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function parseCsv(text) {
  const rows = [[]];
  let field = "", inside = false;
  for (let i = 0; i < text.length; i += 1) {
    const c = text[i];
    if (inside) {
      if (c === '"' && text[i + 1] === '"') { field += c; i += 1; } else if (c === '"') inside = false; else field += c;
    } else if (c === '"') inside = true;
    else if (c === ",") { rows.at(-1).push(field); field = ""; }
    else if (c === "\n") { rows.at(-1).push(field.replace(/\r$/, "")); field = ""; rows.push([]); }
    else field += c;
  }
  return rows.filter((row) => row.length > 1);
}

async function importCorrections(event) {
  const [header, ...rows] = parseCsv(await event.target.files[0].text());
  const path = header.indexOf("path"), genre = header.indexOf("genre");
  const known = new Set([...Object.keys(page.checked), ...files.map((file) => file[PATH])]);
  for (const row of rows) if (known.has(row[path]) && row[genre]) corrections[row[path]] = row[genre];
  save();
  overview();
  select();
}

document.addEventListener("keydown", (event) => {
  if (event.target.matches?.("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  const buttons = [...element("choices").querySelectorAll("button")], number = Number(event.key);
  const actions = {
    ArrowRight: () => open(Math.min(current + 1, selected.length - 1)), ArrowLeft: () => open(Math.max(current - 1, 0)),
    Enter: () => { const file = selected[current]; if (file && !file[ERROR]) decide(accepted(file)); }, u: undo, U: undo,
    " ": () => { const audio = element("audio"); if (audio.paused) audio.play().catch(() => {}); else audio.pause(); },
  };
  const action = actions[event.key] || (number >= 1 && number < buttons.length ? () => buttons[number - 1].click() : null);
  if (action === null || selected.length === 0 && event.key !== "u") return;
  event.preventDefault();
  action();
});
for (const id of ["search", "genre", "show", "order"]) element(id).addEventListener("input", () => select());
element("export").addEventListener("click", exportCorrections);
element("import").addEventListener("change", importCorrections);
if (files.some((file) => file[SUGGESTED] !== undefined)) {
  element("order").prepend(new Option("suggested order", "suggested", true, true));
}
overview();
select();
