// The page: pictures in, what the recogniser says of their faces out. Nothing is sent anywhere.

import { fetched, Refused } from "./model.js";
import { fromRgba, toImageData } from "./pixels.js";
import { loadDetector, Recogniser, webgpu } from "./recognise.js";

const MOST_PIXELS = 16_000_000;  // what canvases of phones hold; larger pictures are shrunk to it
const RUNS = 21;  // latest, of which the median is shown
const MOST_FACES = 12;
const $ = (selector) => document.querySelector(selector);
const chosen = (name) => $(`input[name=${name}]:checked`).value;

let site, detector, recogniser, failed;
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

async function loadModel() {
  document.body.dataset.state = "loading";
  const [folder, precision, engine] = [$("#model").value, chosen("precision"), chosen("engine")];
  say("Loading the model …");
  const former = recogniser;
  [recogniser, failed, times] = [null, null, []];
  for (const id of ["size", "latency", "found-by"]) $(`#${id}`).textContent = "–";
  try {
    await former?.release();
    recogniser = await Recogniser.load(folder, precision, engine, detector, site.detector?.source_sha256);
  } catch (error) {
    failed = error;
    $("#faces").replaceChildren();
    document.body.dataset.state = "refused";
    throw error instanceof Refused ? error : new Error(`this model does not run here: ${error.message ?? error}`);
  }
  const { content, bytes } = recogniser;
  $("#size").textContent = `${content.name}, ${(bytes / 1e6).toFixed(bytes < 1e6 ? 2 : 1)} MB, ${content.size.join(" × ")} pixels`;
  $("#found-by").textContent = content.contract.detector.detector === "none" ? "nobody: a picture is a face" : detector ? "YuNet" : "nobody: the square in the middle";
  say("Ready.");
  note(recogniser.note);
  if (shown) await judge();
  document.body.dataset.state = "ready";
}

// judges the picture that is shown
async function judge() {
  if (!recogniser) throw failed ?? new Error("no model is loaded");
  const { pixels } = shown;
  const found = (await recogniser.find(pixels)).slice(0, MOST_FACES);
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
    $("#latency").textContent = `${median.toFixed(median < 10 ? 1 : 0)} ms (${runs})`;
  }
  note(recogniser.note, shown.note);
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

function draw(results) {
  const canvas = $("#canvas");
  const { source, width, height } = shown;
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  context.drawImage(source, 0, 0, width, height);
  const line = Math.max(2, Math.max(width, height) / 250);
  context.lineWidth = line;
  context.font = `600 ${8 * line}px system-ui, sans-serif`;
  results.forEach(({ face: { box } }, i) => {
    context.strokeStyle = "#fff";
    context.strokeRect(box.left - line, box.top - line, box.width + 2 * line, box.height + 2 * line);
    context.strokeStyle = "#0b5c94";
    context.strokeRect(box.left, box.top, box.width, box.height);
    if (results.length < 2) return;
    context.fillStyle = "#0b5c94";
    context.fillRect(box.left, box.top, 9 * line, 10 * line);
    context.fillStyle = "#fff";
    context.fillText(String(i + 1), box.left + 2 * line, box.top + 8 * line);
  });
  $("#stage").hidden = false;
  canvas.setAttribute("aria-label", `The picture, with ${results.length} of its faces framed`);
  $("#faces").classList.remove("dim");
  $("#faces").replaceChildren(...results.map((result, i) => card(result, results.length > 1 ? i + 1 : null)));
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function card({ cut, probabilities }, number) {
  const small = element("canvas", { width: cut.width, height: cut.height, title: "what the recogniser is given" });
  small.getContext("2d").putImageData(toImageData(cut), 0, 0);
  const first = probabilities.indexOf(Math.max(...probabilities));
  const percent = (value) => `${(100 * value).toFixed(1)} %`;
  const bars = recogniser.emotions.flatMap((emotion, i) => {
    const className = i === first ? "first" : "";
    return [
      element("dt", { className }, emotion),
      element("dd", {}, element("meter", { min: 0, max: 1, value: probabilities[i], ariaLabel: emotion })),
      element("dd", { className: `number ${className}` }, percent(probabilities[i])),
    ];
  });
  const title = element("h2", {}, `${number ? `${number} ` : ""}${recogniser.emotions[first]} `, element("small", {}, percent(probabilities[first])));
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

async function open(blob, name) {
  document.body.dataset.state = "loading";
  say(`Reading ${name} …`);
  try {
    const address = URL.createObjectURL(blob);
    const image = element("img", { src: address });
    try {
      await image.decode();
      shown = taken(image, image.naturalWidth, image.naturalHeight);
    } catch (error) {
      if (image.naturalWidth) throw new Error(`${name} (${image.naturalWidth} × ${image.naturalHeight}) is too large for this browser, or damaged; make it smaller`);
      throw new Error(`${name} is not a picture that this browser can read; try a JPEG or a PNG`);
    } finally {
      URL.revokeObjectURL(address);
    }
    await judge();
  } finally {
    document.body.dataset.state = recogniser ? "ready" : "refused";
  }
}

function openFile(file) {
  if (!file) return;
  stopCamera();
  press(null);
  next(() => open(file, file.name || "the picture"));
}

function press(button) {
  for (const each of document.querySelectorAll("#examples button")) each.setAttribute("aria-pressed", each === button);
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
  await video.play();
  say("The camera runs.");
  const own = stream;
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
      if (kind === "drop") openFile(event.dataTransfer.files[0]);
    });
  }
  document.addEventListener("paste", (event) => openFile(event.clipboardData.files[0]));
  for (const control of document.querySelectorAll("#model, #settings input")) {
    control.addEventListener("change", () => next(loadModel));
  }
}

async function start() {
  document.body.dataset.state = "loading";
  say("Loading …");
  site = JSON.parse(new TextDecoder().decode(await fetched("page.json")));
  $("#model").append(...site.models.map(({ folder, name }) => element("option", { value: folder }, name)));
  $("#models").hidden = site.models.length < 2;
  $("#examples").append(...site.examples.map(({ file, title }) => {
    const button = element("button", { type: "button", title }, element("img", { src: file, alt: title }));
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      stopCamera();
      press(button);
      next(async () => open(new Blob([await fetched(file)], { type: "image/png" }), title));
    });
    return button;
  }));
  const gpu = await webgpu();
  $("#gpu input").disabled = !gpu;
  $("#gpu span").textContent = gpu ? "" : "(not in this browser)";
  listen();
  try {
    detector = await loadDetector(site.detector);
  } catch (error) {
    document.body.dataset.state = "refused";
    throw error;
  }
  await loadModel();
}

next(start);
