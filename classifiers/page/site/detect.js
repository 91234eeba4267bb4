// YuNet (Wu, Peng and Yu 2023) in ONNX Runtime Web: what cv2.FaceDetectorYN does around the network,
// and the closer looks at each face that the contract may ask for.

import { mirrored, part, resized } from "./pixels.js";

const STRIDES = [8, 16, 32];

// faces of a picture; `run` takes planes (3, H, W) of BGR and gives outputs by name
export async function findFaces(image, run, settings) {
  for (const side of settings.sides) {
    const faces = await look(image, side, run, settings);
    if (!faces.length) continue;
    if (settings.refine_side === null) return faces;
    const refined = [];
    for (const face of faces) refined.push(await refine(image, face, run, settings));
    return refined;
  }
  return [];
}

// one face for each that a picture shows, largest first
export function distinct(faces) {
  let groups = [];
  for (const face of faces) {
    const near = groups.filter((group) => group.some((each) => sameFace(each.box, face.box)));
    groups = [...groups.filter((group) => !near.includes(group)), [face, ...near.flat()]];
  }
  const best = groups.map((group) => {
    const evidence = ({ box, score }) => (score ?? 0) * Math.max(box.width, box.height);
    const agreed = ({ box }) => group.reduce((sum, each) => sum + iou(box, each.box), 0);
    return largest(group, (face) => [evidence(face), agreed(face), ...corners(face)]);
  });
  return best.sort((a, b) => compared([area(b), ...corners(a)], [area(a), ...corners(b)]));
}

const area = ({ box }) => box.width * box.height;
const corners = ({ box }) => [box.left, box.top, box.width, box.height];

// as Python compares tuples
function compared(one, other) {
  const first = one.findIndex((value, i) => value !== other[i]);
  return first < 0 ? 0 : one[first] - other[first];
}

function largest(faces, rank) {
  return faces.reduce((a, b) => (compared(rank(b), rank(a)) > 0 ? b : a));
}

function overlap(one, other) {
  const width = Math.min(one.left + one.width, other.left + other.width) - Math.max(one.left, other.left);
  const height = Math.min(one.top + one.height, other.top + other.height) - Math.max(one.top, other.top);
  return Math.max(width, 0) * Math.max(height, 0);
}

function iou(one, other) {
  const common = overlap(one, other);
  return common / (one.width * one.height + other.width * other.height - common) || 0;
}

function sameFace(one, other) {
  const smaller = Math.min(one.width * one.height, other.width * other.height);
  return iou(one, other) >= 0.4 || overlap(one, other) >= 0.7 * smaller;
}

async function look(image, side, run, settings) {
  const [small, perX, perY] = resized(image, side);
  const [width, height] = [small.width, small.height].map((each) => 32 * Math.ceil(Math.max(each, 64) / 32));
  const framed = part(small, 0, 0, width, height, "black");
  const area = width * height;
  const planes = new Float32Array(3 * area);
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) planes[c * area + i] = framed.data[3 * i + 2 - c];
  }
  const rows = candidates(await run(planes, width, height), width, settings.score_threshold);
  rows.sort((a, b) => b.score - a.score);
  return suppressed(rows.slice(0, settings.top_k), settings.nms_threshold).map(({ box, score, landmarks }) => ({
    box: { left: box.left * perX, top: box.top * perY, width: box.width * perX, height: box.height * perY },
    score: Math.min(score, 1),
    landmarks: landmarks.map(([x, y]) => [x * perX, y * perY]),
  }));
}

// every cell of every grid that says "face" is a box, with its five points
function candidates(outputs, width, threshold) {
  const found = [];
  for (const stride of STRIDES) {
    const [classes, objects, boxes, points] = ["cls", "obj", "bbox", "kps"].map((name) => outputs[`${name}_${stride}`]);
    const columns = width / stride;
    for (let i = 0; i < classes.length; i++) {
      const [sure, there] = [classes[i], objects[i]].map((value) => Math.min(Math.max(value, 0), 1));
      const score = Math.sqrt(sure * there);
      if (score < threshold) continue;
      const column = i % columns;
      const row = Math.floor(i / columns);
      const [dx, dy, across, down] = boxes.subarray(4 * i, 4 * i + 4);
      const [w, h] = [Math.exp(across) * stride, Math.exp(down) * stride];
      found.push({
        score,
        box: { left: (column + dx) * stride - w / 2, top: (row + dy) * stride - h / 2, width: w, height: h },
        landmarks: Array.from({ length: 5 }, (_, n) => [
          (points[10 * i + 2 * n] + column) * stride,
          (points[10 * i + 2 * n + 1] + row) * stride,
        ]),
      });
    }
  }
  return found;
}

// of boxes that share more than a share of their union, the best one; OpenCV compares whole pixels
function suppressed(rows, threshold) {
  const whole = ({ left, top, width, height }) => ({
    left: Math.trunc(left), top: Math.trunc(top), width: Math.trunc(width), height: Math.trunc(height),
  });
  const kept = [];
  for (const row of rows) {
    if (kept.every((each) => iou(whole(each.box), whole(row.box)) <= threshold)) kept.push(row);
  }
  return kept;
}

// box and landmarks from closer looks, by itself and in the mirror, where these find the face
async function refine(image, face, run, settings) {
  const { box } = face;
  const side = Math.max(1, Math.round(Math.max(box.width, box.height) * 1.5));
  const left = Math.round(box.left + (box.width - side) / 2);
  const top = Math.round(box.top + (box.height - side) / 2);
  const square = part(image, left, top, side, side, "edge");
  const wanted = { ...box, left: box.left - left, top: box.top - top };
  const looks = [];
  for (const inMirror of [false, true]) {
    const found = await look(inMirror ? mirrored(square) : square, settings.refine_side, run, settings);
    const near = (inMirror ? found.map((each) => unmirrored(each, side)) : found)
      .filter((each) => sameFace(each.box, wanted));
    if (near.length) looks.push(near.reduce((a, b) => (iou(b.box, wanted) > iou(a.box, wanted) ? b : a)));
  }
  if (!looks.length) return face;
  const mean = (of) => looks.reduce((sum, each) => sum + of(each), 0) / looks.length;
  return {
    score: face.score,
    box: {
      left: mean((each) => each.box.left) + left,
      top: mean((each) => each.box.top) + top,
      width: mean((each) => each.box.width),
      height: mean((each) => each.box.height),
    },
    landmarks: face.landmarks.map((_, n) => [
      mean((each) => each.landmarks[n][0]) + left,
      mean((each) => each.landmarks[n][1]) + top,
    ]),
  };
}

function unmirrored({ box, score, landmarks }, width) {
  return {
    score,
    box: { ...box, left: width - box.left - box.width },
    // left and right change places
    landmarks: [1, 0, 2, 4, 3].map((n) => [width - landmarks[n][0], landmarks[n][1]]),
  };
}
