// The page: pictures in, what the recogniser says of their faces out. Nothing is sent anywhere.

import { fetched, Refused } from "./model.js";
import { fromRgba, toImageData } from "./pixels.js";
import { Recogniser, webgpu } from "./recognise.js";

const MOST_PIXELS = 16_000_000;  // what canvases of phones hold; larger pictures are shrunk to it
const RUNS = 21;  // latest, of which the median is shown
const MOST_FACES = 12;
const NOTED = "Where it lies was found when the page was built, as for training; this page cannot do so with your own pictures.";
const CAMERA_S = 20;  // that a camera may take to start
const SHOWN_SIDE = 480;  // pixels of the longer side that a picture is shown with, or more
const $ = (selector) => document.querySelector(selector);
const chosen = (name) => $(`input[name=${name}]:checked`).value;

let site, recogniser, failed, lacking;
let shown = null;  // {source, width, height, pixels, note}
let times = [];
let stream = null;
let turn = Promise.resolve();  // one thing at a time: a session runs one picture

function say(text, bad = false) {
  if ($("#said").textContent !== text) $("#said").textContent = text;  // or readers would say it again
  $("#said").classList.toggle("bad", bad);
}

function note(...lines) {
  const text = lines.filter(Boolean).join(" ");
  $("#note").textContent = text;
  $("#note").hidden = !text;
}

// runs what was asked for after what runs; what fails is told
function next(work) {
  turn = turn.then(work).catch((error) => {
    if (!(error instanceof Refused)) console.error(error);
    say(error.message || String(error), true);
  });
  return turn;
}

// the same, and the page says that it is at work from the moment that it is asked, until nothing is left to do
function begin(work) {
  const state = (word) => { document.body.dataset.state = word; };
  state("loading");
  return next(async () => {
    state("loading");  // what ran before has just said that it is done
    try {
      await work();
    } finally {
      state(recogniser ? "ready" : "refused");
    }
  });
}

// a recogniser on the engine that was chosen, or, where that turns out not to work, on the processor
async function opened(folder, precision, engine) {
  lacking = null;
  try {
    return await Recogniser.load(folder, precision, engine, site);
  } catch (error) {
    if (engine !== "webgpu" || error instanceof Refused) throw error;
    const made = await Recogniser.load(folder, precision, "wasm", site);
    $("input[value=wasm]").checked = true;
    lacking = `WebGPU does not work here (${told(error)}): the processor runs instead.`;
    return made;
  }
}

const told = (error) => String(error?.message ?? error).split("\n")[0].slice(0, 200);

async function loadModel() {
  const [folder, precision, engine] = [$("#model").value, chosen("precision"), chosen("engine")];
  say("Loading the model …");
  const former = recogniser;
  [recogniser, failed, times] = [null, null, []];
  for (const id of ["size", "latency", "found-by"]) $(`#${id}`).textContent = "–";
  brief();
  try {
    await former?.release();
    recogniser = await opened(folder, precision, engine);
  } catch (error) {
    failed = error;
    $("#faces").replaceChildren();
    throw error instanceof Refused ? error : new Error(`this model does not run here: ${told(error)}`);
  }
  const { content, bytes } = recogniser;
  $("#size").textContent = `${content.name}, ${megabytes(bytes)}, ${content.size.join(" × ")} pixels`;
  $("#found-by").textContent = recogniser.finder.by;
  brief();
  say("Ready.");
  note(lacking, recogniser.finder.note);
  if (shown) await judge();
}

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e6 ? 2 : 1)} MB`;

// the settings in a line, for when they are folded
function brief(took) {
  const facts = recogniser ? [chosen("precision"), megabytes(recogniser.bytes), took] : [];
  $("#brief").textContent = facts.filter(Boolean).join(" · ");
}

// The face of an example as the contract's own detector found it when the page was built: used where
// this page finds faces otherwise, or even the examples would be cut wrong.
function notedFace() {
  if (!shown.example || !recogniser.finder.note) return null;
  const model = site.models.find(({ folder }) => folder === recogniser.folder);
  return model.example_faces?.[shown.example] ?? null;
}

// judges the picture that is shown
async function judge() {
  if (!recogniser) throw failed ?? new Error("no model is loaded");
  const { pixels } = shown;
  const noted = notedFace();
  const found = noted ? [noted] : (await recogniser.find(pixels)).slice(0, MOST_FACES);
  const results = [];
  for (const face of found) {
    const cut = recogniser.cut(pixels, face);
    if (!cut) continue;
    const { probabilities, milliseconds } = await recogniser.judge(cut);
    times = [...times, milliseconds].slice(-RUNS);
    results.push({ face, cut, probabilities });
  }
  draw(results);
  const median = [...times].sort((a, b) => a - b)[times.length >> 1];
  if (times.length) {
    const runs = times.length === 1 ? "the last run" : `median of the last ${times.length}`;
    const took = `${median.toFixed(median < 10 ? 1 : 0)} ms`;
    $("#latency").textContent = `${took} (${runs})`;
    brief(took);
  }
  note(shown.note, noted && NOTED, lacking, recogniser.finder.note);
  if (stream) {
    say(results.length ? "The camera runs." : "The camera runs; no face is seen.");
    return;
  }
  const lost = found.length - results.length;
  const faces = (n) => `${n} ${n === 1 ? "face" : "faces"}`;
  if (!found.length) say("No face was found. Try a picture in which a face is larger, and seen from the front.", true);
  else if (!results.length) say("The eyes of the face were not seen, and this recogniser needs them.", true);
  else say(`${faces(results.length)}${lost ? `; ${faces(lost)} left out, whose eyes were not seen` : ""}.`);
}

// shows the picture with its faces framed, and what each is read as
function draw(results) {
  const canvas = $("#canvas");
  const { source, width, height } = shown;
  const grown = Math.max(1, SHOWN_SIDE / Math.max(width, height));  // or frames on small pictures are coarse
  [canvas.width, canvas.height] = [width, height].map((side) => Math.round(side * grown));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  const line = Math.max(2, Math.max(canvas.width, canvas.height) / 250);
  results.forEach(({ face: { box } }, i) => {
    // a frame lies within the picture, also that of a face that reaches beyond
    const within = (at, side) => Math.min(Math.max(at * grown, 1.5 * line), side - 1.5 * line);
    const [left, right] = [box.left, box.left + box.width].map((x) => within(x, canvas.width));
    const [top, bottom] = [box.top, box.top + box.height].map((y) => within(y, canvas.height));
    for (const [colour, wide] of [["#fff", 3 * line], ["#0b5c94", line]]) {
      context.strokeStyle = colour;
      context.lineWidth = wide;
      context.strokeRect(left, top, right - left, bottom - top);
    }
    if (results.length < 2) return;
    const size = 9 * line;
    context.font = `600 ${size}px system-ui, sans-serif`;
    const wide = context.measureText(String(i + 1)).width + size * 0.7;
    context.fillStyle = "#0b5c94";
    context.fillRect(left, top, wide, 1.3 * size);
    context.fillStyle = "#fff";
    context.fillText(String(i + 1), left + 0.35 * size, top + size);
  });
  $("#stage").hidden = false;
  const framed = ["none of its faces framed", "its face framed"][results.length] ?? `${results.length} faces framed`;
  canvas.setAttribute("aria-label", `The picture, ${framed}`);
  $("#faces").classList.toggle("dim", !results.length);
  const cards = results.map((result, i) => card(result, results.length > 1 ? i + 1 : null));
  $("#faces").replaceChildren(...(cards.length ? cards : ["Nothing to judge in this picture."]));
}

// takes away what an earlier picture left
function clear() {
  shown = null;
  $("#stage").hidden = true;
  $("#faces").classList.add("dim");
  $("#faces").replaceChildren("Choose a picture, or one of the examples.");
  note(lacking, recogniser?.finder.note);
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

const percent = (value) => `${(100 * value).toFixed(1)} %`;

function bar(emotion, value) {
  const filled = element("span", {});
  filled.style.width = `${100 * value}%`;
  return element("div", {
    className: "bar", role: "meter", ariaLabel: emotion, ariaValueMin: "0", ariaValueMax: "1",
    ariaValueNow: value.toFixed(3), ariaValueText: percent(value),
  }, filled);
}

function card({ cut, probabilities }, number) {
  const small = element("canvas", { width: cut.width, height: cut.height, title: "what the recogniser is given", role: "img", ariaLabel: "The face as it was cut" });
  small.getContext("2d").putImageData(toImageData(cut), 0, 0);
  const first = probabilities.indexOf(Math.max(...probabilities));
  const bars = recogniser.emotions.flatMap((emotion, i) => {
    const className = i === first ? "first" : "";
    return [
      element("dt", { className }, emotion),
      element("dd", {}, bar(emotion, probabilities[i])),
      element("dd", { className: `number ${className}` }, percent(probabilities[i])),
    ];
  });
  const title = element("h2", {}, ...(number ? [element("span", { className: "badge" }, String(number)), " "] : []), `${recogniser.emotions[first]} `, element("small", {}, percent(probabilities[first])));
  const made = element("article", { className: "face" }, small, element("div", {}, title, element("dl", { className: "bars" }, ...bars)));
  made.dataset.probabilities = JSON.stringify(probabilities);
  return made;
}

// draws a source on white, no larger than canvases of phones are, and reads its pixels
function taken(source, fullWidth, fullHeight) {
  const scale = Math.min(1, Math.sqrt(MOST_PIXELS / (fullWidth * fullHeight)));
  const [width, height] = [fullWidth, fullHeight].map((side) => Math.max(1, Math.floor(side * scale)));
  const canvas = element("canvas", { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("the picture is too large for this browser; make it smaller");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, width, height);
  const size = (w, h) => `${w.toLocaleString("en")} × ${h.toLocaleString("en")}`;
  return {
    source: canvas, width, height,
    pixels: fromRgba(context.getImageData(0, 0, width, height)),
    note: scale < 1 ? `The picture of ${size(fullWidth, fullHeight)} pixels was made smaller, ${size(width, height)}, to be looked at.` : null,
  };
}

async function open(blob, name, example = null) {
  say(`Reading ${name} …`);
  clear();
  const address = URL.createObjectURL(blob);
  const image = element("img", { src: address });
  try {
    await image.decode();
    shown = taken(image, image.naturalWidth, image.naturalHeight);
    if (example) Object.assign(shown, { example, note: `This face was drawn as ${example}.` });
  } catch (error) {
    if (image.naturalWidth) throw new Error(`${name} (${image.naturalWidth} × ${image.naturalHeight}) is too large for this browser, or damaged; make it smaller`);
    throw new Error(`${name} is not a picture that this browser can read; try a JPEG or a PNG`);
  } finally {
    URL.revokeObjectURL(address);
  }
  await judge();
}

function openFile(file) {
  if (!file) return;
  stopCamera();
  press(null);
  begin(() => open(file, file.name || "the picture"));
}

function press(button) {
  for (const each of document.querySelectorAll("#examples button")) each.setAttribute("aria-pressed", each === button);
}

function late(seconds) {
  return new Promise((_, refuse) => setTimeout(() => refuse(new Error(`none in ${seconds} s`)), 1000 * seconds));
}

function stopCamera() {
  if (!stream) return;
  for (const track of stream.getTracks()) track.stop();
  stream = null;
  $("#camera").setAttribute("aria-pressed", "false");
  $("#camera").textContent = "Camera";
}

async function startCamera() {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Error("no camera here: browsers allow it on https:// and on http://localhost only");
  }
  const video = element("video", { muted: true, playsInline: true });
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, facingMode: "user" } });
  } catch (error) {
    const why = { NotAllowedError: "it was not allowed", NotFoundError: "there is none", NotReadableError: "another program uses it" };
    throw new Error(`the camera cannot be used: ${why[error.name] ?? error.message}`);
  }
  $("#camera").setAttribute("aria-pressed", "true");
  $("#camera").textContent = "Stop the camera";
  press(null);
  video.srcObject = stream;
  const own = stream;
  try {
    await Promise.race([video.play(), late(CAMERA_S)]);
  } catch (error) {
    if (stream !== own) return;  // stopped before it began
    stopCamera();
    throw new Error(`the camera gives no picture (${told(error)}); is another program using it?`);
  }
  say("The camera runs.");
  const step = () => {
    if (stream !== own) return;
    next(async () => {
      if (stream !== own) return;
      shown = taken(video, video.videoWidth, video.videoHeight);
      await judge().catch((error) => {
        stopCamera();
        throw error;
      });
    }).then(() => requestAnimationFrame(step));
  };
  step();
}

function listen() {
  $("#file").addEventListener("change", (event) => {
    openFile(event.target.files[0]);
    event.target.value = "";  // the same file again is a change too
  });
  $("#camera").addEventListener("click", () => (stream ? stopCamera() : next(startCamera)));
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      $("#drop").classList.toggle("over", kind === "dragover");
      if (kind !== "drop") return;
      const [file] = event.dataTransfer.files;
      if (file) openFile(file);
      else next(() => { throw new Refused("what was dropped is not a file; save the picture first, and drop or choose that"); });
    });
  }
  document.addEventListener("visibilitychange", () => document.hidden && stopCamera());
  document.addEventListener("paste", (event) => openFile(event.clipboardData.files[0]));
  for (const control of document.querySelectorAll("#model, #settings input")) {
    control.addEventListener("change", () => begin(loadModel));
  }
}

async function start() {
  say("Loading …");
  $("#settings").open = matchMedia("(min-width: 46rem)").matches;
  site = JSON.parse(new TextDecoder().decode(await fetched("page.json")));
  $("#model").append(...site.models.map(({ folder, name }) => element("option", { value: folder }, name)));
  $("#models").hidden = site.models.length < 2;
  $("#examples").append(...site.examples.map(({ file, title, emotion }) => {
    const button = element("button", { type: "button", title }, element("img", { src: file, alt: title }));
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      stopCamera();
      press(button);
      begin(async () => open(new Blob([await fetched(file)], { type: "image/png" }), title, emotion));
    });
    return button;
  }));
  const gpu = await webgpu();
  $("#gpu input").disabled = !gpu;
  $("#gpu span").textContent = gpu ? "" : "(not on this device)";
  listen();
  await loadModel();
}

begin(start);
