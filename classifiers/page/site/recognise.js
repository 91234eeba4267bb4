// The whole path: picture → faces → standard faces → probabilities, by ONNX Runtime Web.

import { eyesOf, needsEyes, standardFace } from "./align.js";
import { distinct, findFaces } from "./detect.js";
import { fetched, readFolder, readModel, Refused, sha256 } from "./model.js";

// how YuNet searches where faces were cut by another detector
const USUAL = { score_threshold: 0.6, nms_threshold: 0.3, top_k: 5000, sides: [160, 320, 640], refine_side: 160 };
const RUNTIMES = { wasm: "./ort/ort.wasm.min.mjs", webgpu: "./ort/ort.webgpu.min.mjs" };
const opened = {};

async function session(bytes, engine) {
  opened[engine] ??= import(RUNTIMES[engine]).then((ort) => {
    ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
    ort.env.wasm.numThreads = 1;  // more need headers that a plain static server does not send
    ort.env.logLevel = "error";
    return ort;
  });
  const ort = await opened[engine];
  return [ort, await ort.InferenceSession.create(bytes, { executionProviders: [engine] })];
}

export async function webgpu() {
  return Boolean(await navigator.gpu?.requestAdapter().catch(() => null));
}

// finds faces as YuNet does; null where the page was built without it
export async function loadDetector(entry) {
  if (!entry) return null;
  const bytes = await fetched(entry.file);
  if ((await sha256(bytes)) !== entry.sha256) {
    throw new Refused(`${entry.file} is not the detector that this page was built with; build the page again`);
  }
  const [ort, network] = await session(bytes, "wasm");
  return async (planes, width, height) => {
    const given = new ort.Tensor("float32", planes, [1, 3, height, width]);
    const outputs = await network.run({ [network.inputNames[0]]: given });
    return Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, tensor.data]));
  };
}

export class Recogniser {
  static async load(folder, precision, engine, detector, detectorHash) {
    const made = new Recogniser();
    made.content = await readFolder(folder);
    const bytes = await readModel(folder, made.content, precision);
    made.bytes = bytes.length;
    [made.ort, made.session] = await session(bytes, engine);
    [made.detector, made.detectorHash] = [detector, detectorHash];
    return made;
  }

  get emotions() {
    return this.content.emotions;
  }

  // what a person should know of how faces are found here; null: exactly as for training
  get note() {
    const { detector } = this.content.contract;
    if (detector.detector === "none") return null;
    if (!this.detector) {
      return `Faces were found by ${detector.detector} for training, which this page was built without: it takes the ` +
        "square in the middle of a picture for a face. Bring one in which a face fills the picture.";
    }
    if (detector.detector !== "yunet") {
      return `Faces were found by ${detector.detector} for training and are found by YuNet here, so they are cut a little otherwise.`;
    }
    return detector.sha256 === this.detectorHash ? null : "Faces were found by another file of YuNet for training.";
  }

  // faces of a picture, largest first
  async find(image) {
    const { detector } = this.content.contract;
    if (detector.detector === "none") return [whole(image)];
    if (!this.detector) return [centre(image)];
    const settings = detector.detector === "yunet" ? detector : USUAL;
    return distinct(await findFaces(image, this.detector, settings));
  }

  // a face of a picture, cut by the contract; null if its eyes are needed and not seen
  cut(image, face) {
    const { contract } = this.content;
    // a guessed square has no eyes, whatever the contract makes of faces without
    const skips = this.detector && contract.eyes_missing === "skip";
    return needsEyes(contract) && skips && !eyesOf(face) ? null : standardFace(image, face, contract);
  }

  // probabilities of a standard face, in the order of the emotions, and the milliseconds it took
  async judge(face) {
    const [height, width] = this.content.size;
    const area = width * height;
    const planes = new Float32Array(3 * area);
    for (let i = 0; i < area; i++) {
      for (let c = 0; c < 3; c++) planes[c * area + i] = face.data[3 * i + c];
    }
    const started = performance.now();
    const images = new this.ort.Tensor("float32", planes, [1, 3, height, width]);
    const { probabilities } = await this.session.run({ images });
    const values = Array.from(await probabilities.getData());
    return { probabilities: values, milliseconds: performance.now() - started };
  }

  async release() {
    await this.session.release();
  }
}

function whole({ width, height }) {
  return { box: { left: 0, top: 0, width, height }, landmarks: null };
}

function centre({ width, height }) {
  const side = Math.min(width, height);
  return { box: { left: (width - side) / 2, top: (height - side) / 2, width: side, height: side }, landmarks: null };
}
