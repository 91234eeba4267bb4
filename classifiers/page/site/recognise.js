// The whole path: picture → faces → standard faces → probabilities, by ONNX Runtime Web.

import { eyesOf, needsEyes, standardFace } from "./align.js";
import { findByCascades, unpacked } from "./cascade.js";
import { distinct, findFaces } from "./detect.js";
import { fetched, readFolder, readModel, Refused, sha256 } from "./model.js";

const NAMES = { haar: "Haar cascades", yunet: "YuNet", dnn_ssd: "OpenCV's SSD", mtcnn: "MTCNN" };
// how faces are searched where they were cut by another detector
const USUAL = { score_threshold: 0.6, nms_threshold: 0.3, top_k: 5000, sides: [160, 320, 640], refine_side: 160 };
const USUAL_HAAR = {
  cascades: ["haarcascade_frontalface_default.xml", "haarcascade_frontalface_alt2.xml", "haarcascade_frontalface_alt.xml"],
  scale_factor: 1.1, min_neighbours: 5, min_share: 0.2,
};
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

async function verified({ file, sha256: noted }) {
  const bytes = await fetched(file);
  if ((await sha256(bytes)) === noted) return bytes;
  throw new Refused(`${file} is not the file that this page was built with; build the page again`);
}

// finds faces as YuNet does
export async function loadYunet(entry) {
  const [ort, network] = await session(await verified(entry), "wasm");
  return async (planes, width, height) => {
    const given = new ort.Tensor("float32", planes, [1, 3, height, width]);
    const outputs = await network.run({ [network.inputNames[0]]: given });
    return Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, tensor.data]));
  };
}

const loaded = {};

// a file of this page, opened once; one that was refused is tried again
function once(entry, open) {
  loaded[entry.file] ??= open(entry).catch((error) => {
    delete loaded[entry.file];
    throw error;
  });
  return loaded[entry.file];
}

async function loadCascade(entry) {
  return unpacked(JSON.parse(new TextDecoder().decode(await verified(entry))));
}

// Who finds faces here for a contract: {find: picture → faces, largest first; by, in words; note}. As for
// training where this page can, or else by what comes near, and then the note says so; else it is null.
export async function finderFor(contract, site) {
  const { detector: wanted, eyes } = contract;
  const { detector: yunet, cascades } = site;
  if (wanted.detector === "none") return { find: async (image) => [whole(image)], by: "nobody: a picture is a face", note: null };
  const looksForEyes = needsEyes(contract) && (eyes || contract.eyes_missing === "skip");
  if (wanted.detector === "haar" && !looksForEyes && wanted.cascades.every((name) => name in cascades)) {
    return { find: await byCascades(wanted, cascades), by: NAMES.haar, note: null };
  }
  const { sha256: noted } = wanted;
  const learned = `Faces were found by ${NAMES[wanted.detector] ?? wanted.detector}${eyes ? " and eye cascades" : ""} for training`;
  if (!yunet) {
    const upright = looksForEyes ? " Eyes are not looked for: heads should be upright." : "";
    return {
      find: await byCascades(USUAL_HAAR, cascades),
      by: NAMES.haar,
      eyeless: true,
      note: `${learned} and are found by ${NAMES.haar} here, so they are cut otherwise: trust what you read less.${upright}`,
    };
  }
  const run = await once(yunet, loadYunet);
  const own = wanted.detector === "yunet";
  const find = async (image) => distinct(await findFaces(image, run, own ? wanted : USUAL));
  if (!own) return { find, by: NAMES.yunet, note: `${learned} and are found by ${NAMES.yunet} here, so they are cut a little otherwise.` };
  return { find, by: NAMES.yunet, note: noted === yunet.source_sha256 ? null : "Faces were found by another file of YuNet for training." };
}

async function byCascades(settings, entries) {
  const cascades = [];
  for (const name of settings.cascades) cascades.push(await once(entries[name], loadCascade));
  return async (image) => distinct(findByCascades(image, cascades, settings));
}

export class Recogniser {
  // `site` is what page.json says
  static async load(folder, precision, engine, site) {
    const made = new Recogniser();
    [made.folder, made.content] = [folder, await readFolder(folder)];
    const bytes = await readModel(folder, made.content, precision);
    made.bytes = bytes.length;
    made.finder = await finderFor(made.content.contract, site);
    [made.ort, made.session] = await session(bytes, engine);
    return made;
  }

  get emotions() {
    return this.content.emotions;
  }

  // faces of a picture, largest first
  find(image) {
    return this.finder.find(image);
  }

  // a face of a picture, cut by the contract; null if its eyes are needed and not seen
  cut(image, face) {
    const { contract } = this.content;
    // a finder that knows no eyes finds none, whatever the contract makes of faces without
    const skips = !this.finder.eyeless && contract.eyes_missing === "skip";
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
