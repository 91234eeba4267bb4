// An exported recogniser: opened only if every file is the one that preprocessing.json describes.

import { unknownIn } from "./align.js";

const FILES = { fp32: "model.onnx", fp16: "model.fp16.onnx", int8: "model.int8.onnx" };

export class Refused extends Error {}

// the bytes of a file of this site
export async function fetched(path) {
  let answer;
  try {
    answer = await fetch(path, { cache: "no-cache" });
  } catch {
    throw new Refused(`${path} cannot be loaded; is the server that gave this page still running?`);
  }
  if (!answer.ok) throw new Refused(`${path} is missing (${answer.status}); build the page again`);
  return new Uint8Array(await answer.arrayBuffer());
}

export async function sha256(bytes) {
  if (!globalThis.crypto?.subtle) {
    throw new Refused(
      "files cannot be checked here: browsers do so on https:// and on http://localhost only; open the page there");
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// what preprocessing.json of a folder says, once it is known to be whole
export async function readFolder(folder) {
  const path = `${folder}/preprocessing.json`;
  const text = new TextDecoder().decode(await fetched(path));
  let content, exact;
  try {
    [content, exact] = [JSON.parse(text), parsed(text)];
  } catch {
    throw new Refused(`${path} is damaged; export the recogniser again`);
  }
  const { contract } = content;
  if (!contract || typeof contract !== "object" || !Object.keys(contract).length) {
    throw new Refused(
      `${path} has no standardisation contract, so nobody knows how faces must be cut for this recogniser; export it again`);
  }
  const named = (await hashed(canonical(exact.contract, true))).slice(0, 12);
  if (named !== content.contract_id) {
    throw new Refused(
      `the contract in ${path} was changed: it is ${named}, ${content.contract_id} is noted; restore the file or export again`);
  }
  const { hash: _, ...rest } = exact;
  const whole = (await hashed(canonical(rest, false))).slice(0, 10);
  if (whole !== content.hash) {
    throw new Refused(`${path} was changed: its hash is ${whole}, ${content.hash} is noted; restore the file or export again`);
  }
  const unknown = unknownIn(contract);
  if (unknown) throw new Refused(`this page does not know how to cut faces by ${unknown} (contract of ${folder})`);
  return content;
}

// the bytes of a model file in a precision
export async function readModel(folder, content, precision) {
  const name = FILES[precision];
  const bytes = await fetched(`${folder}/${name}`);
  const found = await sha256(bytes);
  if (found !== content.files[name]) {
    throw new Refused(
      `${folder}/${name} is not the file that preprocessing.json describes: its SHA-256 starts with ${found.slice(0, 10)}, ` +
      `${String(content.files[name]).slice(0, 10)} is noted; copy the whole folder, or export again`);
  }
  const labels = graphLabels(bytes);
  if (JSON.stringify(labels) !== JSON.stringify(content.emotions)) {
    throw new Refused(
      `the labels should be ${content.emotions.join(", ")}; the graph of ${folder}/${name} has ` +
      `${labels.join(", ") || "none"}, in this order: probabilities would be given to the wrong emotions; restore ` +
      `${folder}/preprocessing.json, or export again`);
  }
  return bytes;
}

async function hashed(text) {
  return sha256(new TextEncoder().encode(text));
}

// JSON with numbers as they are written: 1.0 and 1 are two texts, and hashes are of texts
class Written {
  constructor(source) {
    this.source = source;
  }
}

function parsed(text) {
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[-+.\w]+|[{}[\]:,]/g) ?? [];
  let at = 0;
  const value = () => {
    const token = tokens[at++];
    if (token === "{") {
      const made = {};
      while (tokens[at] !== "}") {
        const key = JSON.parse(tokens[at]);
        at += 2;
        made[key] = value();
        if (tokens[at] === ",") at++;
      }
      at++;
      return made;
    }
    if (token === "[") {
      const made = [];
      while (tokens[at] !== "]") {
        made.push(value());
        if (tokens[at] === ",") at++;
      }
      at++;
      return made;
    }
    return /^[-\d]/.test(token) ? new Written(token) : JSON.parse(token);
  };
  return value();
}

// the text that Python's json.dumps(sort_keys=True) writes; dense: no spaces, and 1.0 is 1
function canonical(value, dense) {
  const [comma, colon] = dense ? [",", ":"] : [", ", ": "];
  const inner = (each) => canonical(each, dense);
  if (value instanceof Written) {
    return dense && Number.isInteger(Number(value.source)) ? String(Number(value.source)) : value.source;
  }
  if (Array.isArray(value)) return `[${value.map(inner).join(comma)}]`;
  if (value && typeof value === "object") {
    const entries = Object.keys(value).sort().map((key) => `${inner(key)}${colon}${inner(value[key])}`);
    return `{${entries.join(comma)}}`;
  }
  return JSON.stringify(value).replace(/[^ -~]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

// The labels that the graph itself carries: in ONNX's protocol buffers, field 14 of the model holds
// pairs of key (1) and value (2). The runtime does not show them.
function graphLabels(bytes) {
  for (const [number, pair] of fields(bytes)) {
    if (number !== 14) continue;
    const entry = Object.fromEntries(fields(pair).map(([part, text]) => [part, new TextDecoder().decode(text)]));
    if (entry[1] === "emotions") return JSON.parse(entry[2]);
  }
  return [];
}

// the fields of a message that have a length: [number, bytes]
function fields(bytes) {
  const found = [];
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * factor;
      if (byte < 128 || at > bytes.length) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const kind = tag & 7;
    if (kind === 2) {
      const length = varint();
      found.push([tag >> 3, bytes.subarray(at, at + length)]);
      at += length;
    } else if (kind === 0) varint();
    else at += kind === 1 ? 8 : 4;
  }
  return found;
}
