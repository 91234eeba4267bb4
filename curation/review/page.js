"use strict";

// The review page: what `page.py` embedded, kept and rejected by key. No library, no network.
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const rows = data.rows.map(([id, emotion, read, keep, reason, nearest, repeats, values], place) => ({
  place, id, emotion, read, keep, reason, nearest, repeats, values,
  gate: reason ? reason.split(":")[0] : null,
}));
for (const row of rows) row.guarded = row.keep === false && data.safety.includes(row.gate);
const byId = grouped("id", rows);
const key = `affectory-review:${data.corpus}`;

let words = new Map(); // row id → {verdict, note}
const history = []; // each change: pairs of a row's id and what was said of it before
let unsaved = 0; // changes since the last file
let stored = false; // whether this browser holds them
let shown = []; // the rows that the filters let through, as they stand on the page
let active = rows[0];
let viewed = null; // the row last enlarged

// A Map of lists of rows by one of their facts.
function grouped(fact, list) {
  const found = new Map();
  for (const row of list) {
    if (found.has(row[fact])) found.get(row[fact]).push(row);
    else found.set(row[fact], [row]);
  }
  return found;
}

function element(name, given = {}, ...children) {
  const made = Object.assign(document.createElement(name), given);
  made.append(...children);
  return made;
}

const picture = (webp) => `data:image/webp;base64,${webp}`;
const number = (count) => count.toLocaleString("en");
const figure = (value) => (value === null ? "–" : value.toFixed(value < 10 ? 3 : 1));

// What becomes of a face, as far as this page can tell: true, false, or null for not yet judged.
function outcome(row) {
  const word = words.get(row.id);
  if (word?.verdict === "reject" || row.guarded) return false;
  return word ? true : row.keep;
}

// ---- cards

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    seen.unobserve(entry.target);
    entry.target.firstChild.src = picture(data.faces[entry.target.dataset.place]);
  }
}, { rootMargin: "900px 0px" });

for (const row of rows) {
  const image = element("img", { alt: "", width: 96, height: 96, decoding: "async" });
  const quick = element("div", { className: "quick" }, element("span", { textContent: "✓", title: "keep" }), element("span", { textContent: "✗", title: "reject" }));
  quick.ariaHidden = "true"; // for pointers alone; keys and the enlarged face do the same
  row.card = element("div", { className: "face", tabIndex: -1, role: "option" },
    image, element("p"), element("p", { className: "why" }), element("span", { className: "mark" }), quick);
  row.card.dataset.place = row.place;
  seen.observe(row.card);
}

function because(row) {
  if (row.guarded) return `${row.gate}, stands`;
  const misread = row.read === row.emotion ? "" : `read as ${row.read}`;
  if (row.keep === false) return [row.gate || "refused", misread.slice(8)].filter(Boolean).join(": ");
  return misread;
}

function draw(row, measure) {
  const [image, value, why, mark] = row.card.children;
  const word = words.get(row.id);
  const stays = outcome(row);
  if (word) row.card.dataset.word = word.verdict;
  else delete row.card.dataset.word;
  mark.textContent = word ? (word.verdict === "keep" ? "✓ keep" : "✗ reject") : "";
  image.className = stays === false ? "out" : "";
  value.textContent = row.values.length ? figure(row.values[measure]) : "";
  why.textContent = because(row);
  const gates = row.keep === null ? "not judged by the gates" : row.keep ? "kept by the gates" : `refused by the gates, ${row.reason}`;
  const yours = word ? `you: ${word.verdict}${word.note ? `, ${word.note}` : ""}` : "you: nothing";
  row.card.ariaLabel = `${row.emotion}, ${data.measures.map(([, name], i) => `${name} ${figure(row.values[i])}`).join(", ")}, ${gates}, ${yours}`;
  row.card.title = row.reason || "";
}

const sorting = () => (at("sort").value ? parseInt(at("sort").value, 10) : 0);

// ---- which faces, in which order

const gateNames = [...new Set(rows.filter((row) => row.keep === false).map((row) => row.gate || "refused"))].sort();
const howMany = (test) => number(rows.filter(test).length);
at("gates").append(new Option("all", ""));
if (rows.some((row) => row.keep !== null)) {
  at("gates").append(
    new Option(`kept (${howMany((row) => row.keep === true)})`, "kept"),
    new Option(`refused (${howMany((row) => row.keep === false)})`, "refused"),
    ...gateNames.map((name) => new Option(`refused: ${name} (${howMany((row) => row.keep === false && (row.gate || "refused") === name)})`, `gate ${name}`)),
  );
}
at("gates").append(
  new Option(`read as another emotion (${howMany((row) => row.read !== row.emotion)})`, "misread"),
  new Option(`repeats another face (${howMany((row) => row.repeats)})`, "repeats"),
);

function passes(row) {
  const emotion = at("emotion").value, gates = at("gates").value, yours = at("yours").value;
  if (emotion && row.emotion !== emotion) return false;
  if (gates === "kept" && row.keep !== true) return false;
  if (gates === "refused" && row.keep !== false) return false;
  if (gates.startsWith("gate ") && (row.keep !== false || (row.gate || "refused") !== gates.slice(5))) return false;
  if (gates === "misread" && row.read === row.emotion) return false;
  if (gates === "repeats" && !row.repeats) return false;
  const verdict = words.get(row.id)?.verdict;
  if (yours === "none") return !verdict;
  if (yours === "against") return Boolean(verdict) && row.keep !== null && (verdict === "keep") !== row.keep;
  return !yours || verdict === yours;
}

const groups = new Map(data.emotions.map((emotion, place) => {
  const title = element("h3", { id: `emotion-${place}`, role: "presentation" });
  const grid = element("div", { className: "grid", role: "presentation" });
  const section = element("section", {}, title, grid);
  section.role = "group";
  section.setAttribute("aria-labelledby", title.id);
  at("faces").append(section);
  return [emotion, { title, grid, section }];
}));

function arrange() {
  const [, measure, sign] = at("sort").value.match(/^(\d+)([+-])$/) || [];
  const order = (a, b) => {
    if (measure === undefined) return a.place - b.place;
    const one = a.values[measure], other = b.values[measure];
    if (one === null || other === null) return (one === null) - (other === null) || a.place - b.place;
    return (sign === "+" ? one - other : other - one) || a.place - b.place;
  };
  const through = grouped("emotion", rows.filter(passes));
  shown = [];
  for (const [emotion, group] of groups) {
    const own = (through.get(emotion) || []).sort(order);
    for (const row of own) {
      row.index = shown.push(row) - 1;
      draw(row, sorting());
    }
    group.section.hidden = !own.length;
    group.grid.replaceChildren(...own.map((row) => row.card));
  }
  at("empty").hidden = shown.length > 0;
  if (shown.length) point(shown.includes(active) ? active : shown[0]);
  count();
}

function count() {
  const tally = new Map(data.emotions.map((emotion) => [emotion, { all: 0, in: 0 }]));
  let stays = 0, out = 0, open = 0, keeps = 0, rejects = 0;
  for (const row of rows) {
    const result = outcome(row), own = tally.get(row.emotion), verdict = words.get(row.id)?.verdict;
    own.all += 1;
    if (result === false) out += 1;
    else own.in += 1;
    if (result === true) stays += 1;
    if (result === null) open += 1;
    if (verdict === "keep") keeps += 1;
    if (verdict === "reject") rejects += 1;
  }
  const bold = (value) => element("b", { textContent: number(value) });
  at("counts").replaceChildren(
    bold(rows.length), " faces: ", bold(stays), " stay, ", bold(out), " go", ...(open ? [", ", bold(open), " for the gates"] : []),
    " · you: ", bold(keeps), " keep, ", bold(rejects), " reject · ", bold(shown.length), " shown",
  );
  for (const [emotion, { title }] of groups) {
    const { all, in: inside } = tally.get(emotion);
    title.replaceChildren(emotion, element("span", { textContent: `${number(inside)} of ${number(all)} ${open ? "not refused" : "stay"}` }));
  }
  at("save").textContent = unsaved ? `Save decisions (${number(unsaved)} new)` : "Save decisions";
  at("undo").disabled = !history.length;
}

// ---- pointing and saying

function point(row, focus = false) {
  active.card.classList.remove("active");
  active.card.tabIndex = -1;
  active.card.ariaSelected = "false";
  active = row;
  active.card.classList.add("active");
  active.card.tabIndex = 0;
  active.card.ariaSelected = "true";
  if (at("viewer").open) view();
  else if (focus) active.card.focus();
}

function say(text, bad = false) {
  at("said").textContent = text;
  at("said").className = bad ? "bad" : "";
  if (at("viewer").open) at("verdict").textContent = text;
}

// All changes come through here: `said` is a list of pairs of an id and a word, null for none.
function change(said) {
  history.push(said.map(([id]) => [id, words.get(id) || null]));
  set(said);
}

function set(said) {
  for (const [id, word] of said) {
    if (word) words.set(id, word);
    else words.delete(id);
    for (const row of byId.get(id)) draw(row, sorting());
  }
  unsaved += 1;
  remember();
  count();
}

function decide(verdict) {
  const row = active;
  if (verdict === "keep" && row.guarded) {
    say(`A keep cannot override the safety gate: ${row.reason}`, true);
    return;
  }
  const before = words.get(row.id);
  const note = before?.note || "";
  change([[row.id, verdict ? { verdict, note } : null]]);
  if (verdict && at("advance").checked && row.index + 1 < shown.length) {
    point(shown[row.index + 1], true);
  } else if (at("viewer").open) view();
  say(verdict ? `${verdict === "keep" ? "Kept" : "Rejected"}: ${row.emotion}, face ${number(row.index + 1)} of ${number(shown.length)} shown` : "No word: the gates decide");
}

function undo() {
  const before = history.pop();
  if (!before) {
    say("There is nothing to undo");
    return;
  }
  set(before);
  const [row] = byId.get(before[0]?.[0]) || [];
  if (row && row.card.isConnected) point(row, true);
  say(before.length === 1 ? "Undone" : `Undone: ${number(before.length)} decisions`);
}

// ---- the enlarged face

function view() {
  const row = active, word = words.get(row.id);
  viewed = row;
  const stand = row.keep === null ? "not judged" : row.keep ? "kept" : row.reason || "refused";
  at("viewer-title").textContent = `${row.emotion}, ${number(row.index + 1)} of ${number(shown.length)}`;
  const beside = [side(picture(data.faces[row.place]), `generated, named ${row.emotion}, read as ${row.read}`)];
  if (row.nearest && data.training) {
    const real = data.training[row.nearest];
    beside.push(real ? side(picture(real), "nearest training face") : element("figure", {}, element("figcaption", { textContent: "the nearest training face is not in the corpus given" })));
  }
  const [original] = row.repeats ? byId.get(row.repeats) || [] : [];
  if (original) beside.push(side(picture(data.faces[original.place]), "generated face that this one repeats"));
  at("pictures").replaceChildren(...beside);
  const lines = [
    ["gates", stand],
    ["read as", row.read],
    ...data.measures.map(([, name], i) => [name, figure(row.values[i])]),
    ["nearest training face", row.nearest || "–"],
    ["repeats", row.repeats || "–"],
    ["id", row.id],
  ];
  at("details").replaceChildren(...lines.map(([name, value]) => element("tr", {}, element("th", { scope: "row", textContent: name }), element("td", { textContent: value }))));
  at("keep").ariaPressed = String(word?.verdict === "keep");
  at("reject").ariaPressed = String(word?.verdict === "reject");
  at("keep").disabled = row.guarded;
  at("note").value = word?.note || "";
  at("note").disabled = !word;
  at("note").placeholder = word ? "why; optional" : "decide first";
  at("verdict").textContent = row.guarded ? "A safety gate refused this face: a keep cannot override it." : word ? `You: ${word.verdict}` : "You said nothing; the gates decide.";
  if (word) at("viewer").dataset.word = word.verdict;
  else delete at("viewer").dataset.word;
}

function side(source, caption) {
  return element("figure", {}, element("img", { src: source, alt: caption }), element("figcaption", { textContent: caption }));
}

function enlarge() {
  if (!shown.length) return;
  at("viewer").showModal();
  view();
  at("next").focus();
}

// the browser goes back to the face that was enlarged first, the person is at the last
at("viewer").addEventListener("close", () => point(viewed, true));
at("helper").addEventListener("close", () => !at("viewer").open && active.card.focus());
for (const button of document.querySelectorAll(".close")) button.addEventListener("click", () => button.closest("dialog").close());
for (const dialog of document.querySelectorAll("dialog")) dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
at("note").addEventListener("change", () => {
  const word = words.get(active.id), note = at("note").value.trim().replace(/\s+/g, " ");
  if (word && note !== word.note) change([[active.id, { ...word, note }]]);
});

// ---- files

function content() {
  const decisions = {};
  // sorted, so that the same decisions are the same bytes; a definition, since a name may be __proto__
  for (const id of [...words.keys()].sort()) {
    const { verdict, note } = words.get(id);
    Object.defineProperty(decisions, id, { value: note ? { verdict, note } : { verdict }, enumerable: true });
  }
  const reviewer = at("reviewer").value.trim();
  return `${JSON.stringify({ version: data.version, corpus: data.corpus, ...(reviewer && { reviewer }), decisions }, null, 1)}\n`;
}

// Words by id from the text of a file; an Error says what is wrong with it.
function parsed(text) {
  let said;
  try {
    said = JSON.parse(text);
  } catch {
    throw new Error("this file is no JSON");
  }
  const plain = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  if (!plain(said)) throw new Error("this file holds no object");
  if (said.version !== data.version) throw new Error(`this file is of version ${said.version}, the page reads version ${data.version}`);
  if (said.corpus !== data.corpus) throw new Error(`this file was made for corpus ${said.corpus}, the page shows ${data.corpus}`);
  if (!plain(said.decisions)) throw new Error("this file has no object `decisions`");
  const found = new Map();
  for (const [id, entry] of Object.entries(said.decisions)) {
    if (!byId.has(id)) throw new Error(`this file decides on ${id}, which is no face of this page`);
    if (!plain(entry) || !["keep", "reject"].includes(entry.verdict)) throw new Error(`this file says neither keep nor reject of ${id}`);
    found.set(id, { verdict: entry.verdict, note: String(entry.note ?? "") });
  }
  return { found, reviewer: String(said.reviewer ?? "") };
}

function save() {
  const link = element("a", { href: URL.createObjectURL(new Blob([content()], { type: "application/json" })), download: `decisions-${data.corpus}.json` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  unsaved = 0;
  remember();
  count();
  say(`Saved as ${link.download}: ${number(words.size)} decisions`);
}

async function load(file) {
  try {
    const { found, reviewer } = parsed(await file.text());
    // what the file does not name is undecided: loading it twice, or after a reload, is the same
    change([...new Set([...words.keys(), ...found.keys()])].map((id) => [id, found.get(id) || null]));
    if (reviewer) at("reviewer").value = reviewer;
    unsaved = 0;
    remember();
    arrange();
    say(`Loaded ${number(found.size)} decisions from ${file.name}; undo brings back what was here`);
  } catch (error) {
    say(`Not loaded: ${error.message}`, true);
  }
}

function remember() {
  try {
    localStorage.setItem(key, JSON.stringify({ text: content(), unsaved }));
    stored = true;
  } catch {
    stored = false; // switched off, or full: the file is what counts
  }
}

function recall() {
  try {
    const kept = JSON.parse(localStorage.getItem(key));
    stored = true;
    if (!kept) return;
    const { found, reviewer } = parsed(kept.text);
    words = found;
    unsaved = kept.unsaved;
    at("reviewer").value = reviewer;
    if (found.size) say(`${number(found.size)} decisions of an earlier visit are back`);
  } catch {
    stored = false;
  }
}

// ---- events

function columns(row) {
  return getComputedStyle(row.card.parentElement).gridTemplateColumns.split(" ").length;
}

// Up and down go by rows of the grid, and from one emotion into the next in the same column.
function vertical(row, step) {
  const own = shown.filter((other) => other.emotion === row.emotion);
  const width = columns(row), place = own.indexOf(row), column = place % width;
  const lines = Math.ceil(own.length / width), line = Math.floor(place / width) + step;
  if (line >= 0 && line < lines) return own[Math.min(line * width + column, own.length - 1)];
  const there = shown[(step > 0 ? own.at(-1) : own[0]).index + Math.sign(step)];
  if (!there) return step > 0 ? own.at(-1) : own[0];
  const others = shown.filter((other) => other.emotion === there.emotion);
  const start = step > 0 ? 0 : Math.floor((others.length - 1) / width) * width;
  return others[Math.min(start + column, others.length - 1)];
}

function neighbour(step) {
  const there = [...groups.keys()].filter((emotion) => shown.some((row) => row.emotion === emotion));
  const emotion = there[there.indexOf(active.emotion) + step];
  return emotion ? shown.find((row) => row.emotion === emotion) : active;
}

const page = () => Math.max(1, Math.floor((innerHeight * 0.7) / active.card.offsetHeight));
const moves = {
  ArrowLeft: () => shown[active.index - 1],
  ArrowRight: () => shown[active.index + 1],
  ArrowUp: () => vertical(active, -1),
  ArrowDown: () => vertical(active, 1),
  PageUp: () => vertical(active, -page()),
  PageDown: () => vertical(active, page()),
  Home: () => shown[0],
  End: () => shown.at(-1),
  "[": () => neighbour(-1),
  "]": () => neighbour(1),
};
const actions = {
  k: () => decide("keep"),
  r: () => decide("reject"),
  x: () => decide(null),
  u: undo,
  s: save,
  "?": () => at("helper").showModal(),
  n: () => {
    if (!at("viewer").open) enlarge();
    at("note").focus();
  },
};

document.addEventListener("keydown", (event) => {
  const inField = event.target.matches("input:not([type=checkbox], [type=file]), select");
  if (event.ctrlKey || event.metaKey || event.altKey || at("helper").open) return;
  if (inField) {
    // a note ends with Enter, and Escape leads from the controls back to the faces
    if (event.target.id === "note" && event.key === "Enter") {
      event.preventDefault();
      at("next").focus();
    } else if (event.key === "Escape" && !at("viewer").open) active.card.focus();
    return;
  }
  const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const onFace = event.target === document.body || event.target.classList.contains("face");
  if (name === "Enter" && onFace) {
    event.preventDefault();
    enlarge();
  } else if (moves[name] && shown.length && (onFace || at("viewer").open || name.length === 1)) {
    event.preventDefault();
    point(moves[name]() || active, true);
  } else if (actions[name] && (shown.length || "us?".includes(name))) {
    event.preventDefault();
    actions[name]();
  }
});

at("faces").addEventListener("click", (event) => {
  const card = event.target.closest(".face");
  if (!card) return;
  point(rows[card.dataset.place], true);
  if (event.target.closest(".quick span")) decide(event.target.title);
  else enlarge();
});
at("faces").addEventListener("focusin", (event) => {
  const card = event.target.closest(".face");
  if (card && card !== active.card) point(rows[card.dataset.place]);
});
at("controls").addEventListener("change", (event) => {
  if (event.target.id === "size") at("faces").style.setProperty("--side", `${event.target.value}px`);
  else arrange();
});
at("controls").addEventListener("submit", (event) => event.preventDefault());
at("clear").addEventListener("click", () => {
  for (const id of ["emotion", "gates", "yours"]) at(id).value = "";
  arrange();
  active.card.focus();
});
at("reviewer").addEventListener("change", () => {
  unsaved += 1;
  remember();
  count();
});
at("load").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  if (file) await load(file);
  event.target.value = ""; // so that the same file can be loaded again
});
const clicks = { save, undo, keep: actions.k, reject: actions.r, "clear-one": actions.x, help: actions["?"], previous: () => point(moves.ArrowLeft() || active), next: () => point(moves.ArrowRight() || active) };
for (const [id, act] of Object.entries(clicks)) at(id).addEventListener("click", act);
addEventListener("beforeunload", (event) => {
  if (unsaved && !stored) event.preventDefault();
});

recall();
arrange();
point(shown[0]);
active.card.focus({ preventScroll: true });
document.documentElement.dataset.ready = "yes";
