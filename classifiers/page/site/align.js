// The standard face: which part of a picture a contract asks for, and how it is cut out.
// Coordinates are continuous: the first pixel reaches from 0 to 1. A face is {box: {left, top, width,
// height}, landmarks: five [x, y] or null}, landmarks as eye, eye, nose, corner, corner of the mouth.

import { bicubic, equalised, even, grey, halved, padded, part, shrunk, warped } from "./pixels.js";

// the template of ArcFace (Deng et al. 2019), on a square of side 1
const TEMPLATE = [
  [38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041],
].map((point) => point.map((value) => value / 112));
const NEAREST_EYES = 0.1;  // of the box; nearer ones belong to a profile, or to no face
const USUAL_EYES = [[-0.22, -0.12], [0.22, -0.12]];  // from the box's centre, in its widths
const FRAMES = { box: boxRegion, eyes: eyeRegion, template: templateRegion };
const FITS = ["square", "stretch", "pad"];
const BORDERS = ["mirror", "edge", "black"];

// why this page cannot cut faces as a contract says; null if it can
export function unknownIn(contract) {
  if (!(contract.frame?.frame in FRAMES)) return `frame ${contract.frame?.frame}`;
  if (!FITS.includes(contract.fit)) return `fit ${contract.fit}`;
  if (!BORDERS.includes(contract.border)) return `border ${contract.border}`;
  if (!["RGB", "grey"].includes(contract.colour)) return `colour ${contract.colour}`;
  return Number.isInteger(contract.size) ? null : `size ${contract.size}`;
}

export function needsEyes({ frame }) {
  return frame.frame !== "box" || frame.level;
}

export function eyesOf({ box, landmarks }) {
  if (!landmarks) return null;
  const [one, other] = landmarks;
  const apart = Math.hypot(other[0] - one[0], other[1] - one[1]);
  return apart >= NEAREST_EYES * Math.max(box.width, box.height) ? [one, other] : null;
}

// a face whose eyes are taken to lie where they mostly lie
export function supposedUpright({ box }) {
  const x = box.left + box.width / 2;
  const y = box.top + box.height / 2;
  return { box, landmarks: USUAL_EYES.map(([dx, dy]) => [x + dx * box.width, y + dy * box.width]) };
}

// the standard face of a picture as the contract says: a picture of the contract's size
export function standardFace(image, given, contract) {
  const face = needsEyes(contract) && !eyesOf(given) ? supposedUpright(given) : given;
  const region = FRAMES[contract.frame.frame](face, contract.frame);
  if (contract.fit === "square") region.width = region.height = Math.max(region.width, region.height);
  const { size, clahe } = contract;
  const scale = size / Math.max(region.width, region.height);
  const [width, height] = [region.width, region.height].map((side) =>
    contract.fit === "pad" ? Math.max(1, even(side * scale)) : size);
  const from = clahe?.scope === "picture" ? equalised(image, clahe.clip_limit, clahe.tiles) : image;
  const cut = needsEyes(contract) ? turned : upright;
  let pixels = cut(from, region, width, height, contract.border);
  if (contract.colour === "grey") pixels = grey(pixels);
  if (clahe?.scope === "face") pixels = equalised(pixels, clahe.clip_limit, clahe.tiles);
  return contract.fit === "pad" ? padded(pixels, size) : pixels;
}

function turn([x, y], angle) {
  return [Math.cos(angle) * x - Math.sin(angle) * y, Math.sin(angle) * x + Math.cos(angle) * y];
}

function eyeAngle([one, other]) {
  return Math.atan2(other[1] - one[1], other[0] - one[0]);
}

function boxRegion(face, { margin, down, level }) {
  const { box } = face;
  const longer = Math.max(box.width, box.height);
  const eyes = level ? eyesOf(face) : null;
  const angle = eyes ? eyeAngle(eyes) : 0;
  const [dx, dy] = turn([0, longer * down], angle);
  return {
    x: box.left + box.width / 2 + dx,
    y: box.top + box.height / 2 + dy,
    width: box.width + 2 * margin * longer,
    height: box.height + 2 * margin * longer,
    angle,
  };
}

function eyeRegion(face, { sides, above, below }) {
  const [one, other] = eyesOf(face);
  const distance = Math.hypot(other[0] - one[0], other[1] - one[1]);
  const angle = eyeAngle([one, other]);
  const [dx, dy] = turn([0, ((below - above) / 2) * distance], angle);
  return {
    x: (one[0] + other[0]) / 2 + dx,
    y: (one[1] + other[1]) / 2 + dy,
    width: 2 * sides * distance,
    height: (above + below) * distance,
    angle,
  };
}

// the square on which the landmarks come nearest to the template: a similarity of least squares
function templateRegion({ landmarks }, { margin, down }) {
  const wanted = TEMPLATE.slice(0, landmarks.length);
  const mean = (points) => [0, 1].map((i) => points.reduce((sum, p) => sum + p[i], 0) / points.length);
  const [centre, goal] = [mean(landmarks), mean(wanted)];
  let [real, imaginary, spread] = [0, 0, 0];
  landmarks.forEach(([x, y], i) => {
    const [dx, dy] = [x - centre[0], y - centre[1]];
    const [gx, gy] = [wanted[i][0] - goal[0], wanted[i][1] - goal[1]];
    real += dx * gx + dy * gy;
    imaginary += dx * gy - dy * gx;
    spread += dx * dx + dy * dy;
  });
  [real, imaginary] = [real / spread, imaginary / spread];
  const scale = Math.hypot(real, imaginary);
  const [dx, dy] = [0.5 - goal[0], 0.5 + down - goal[1]];
  const side = (1 + 2 * margin) / scale;
  return {
    x: centre[0] + (dx * real + dy * imaginary) / scale ** 2,
    y: centre[1] + (dy * real - dx * imaginary) / scale ** 2,
    width: side,
    height: side,
    angle: -Math.atan2(imaginary, real),
  };
}

// resized by a bicubic filter that widens with the scale
function upright(image, region, width, height, border) {
  const corner = [region.x - region.width / 2, region.y - region.height / 2];
  const far = [corner[0] + region.width, corner[1] + region.height];
  const out = Math.max(-corner[0], far[0] - image.width, -corner[1], far[1] - image.height, 0);
  const reach = Math.ceil(out);
  // Pillow is given the region in the picture with its border, and keeps single precision of it
  const single = (value) => Math.fround(value + reach) - reach;
  const [left, top] = corner.map(single);
  const [extentX, extentY] = [Math.fround(single(far[0]) - left), Math.fround(single(far[1]) - top)];
  // as much about the region as the filter sees, and no more
  const [x0, x1] = around(left, extentX, width, image.width, reach);
  const [y0, y1] = around(top, extentY, height, image.height, reach);
  const near = part(image, x0, y0, x1 - x0, y1 - y0, border);
  return bicubic(near, left - x0, top - y0, extentX, extentY, width, height);
}

function around(start, extent, size, length, reach) {
  const support = 2 * Math.max(extent / size, 1) + 2;
  return [
    Math.max(-reach, Math.floor(start - support)),
    Math.min(length + reach, Math.ceil(start + extent + support)),
  ];
}

// halved while it must, then warped once onto a grid twice as fine as the result, and averaged
function turned(image, whole, width, height, border) {
  const corners = [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([i, j]) => {
    const [dx, dy] = turn([(i * whole.width) / 2, (j * whole.height) / 2], whole.angle);
    return [whole.x + dx, whole.y + dy];
  });
  // sides that can be halved without a shift, as often as it may be
  const step = Math.min(whole.width, whole.height) > 64 ? 64 : 4;
  const [[x0, sideX], [y0, sideY]] = [0, 1].map((axis) => {
    const values = corners.map((corner) => corner[axis]);
    const first = Math.floor(Math.min(...values)) - 4;
    return [first, step * Math.ceil((Math.max(...values) + 4 - first) / step)];
  });
  let near = part(image, x0, y0, sideX, sideY, border);
  let { x, y, width: across, height: down } = whole;
  [x, y] = [x - x0, y - y0];
  while (Math.min(across / width, down / height) > 2) {
    near = halved(near);
    [x, y, across, down] = [x / 2, y / 2, across / 2, down / 2];
  }
  const [scaleX, scaleY] = [across / width, down / height];
  const grows = Math.max(scaleX, scaleY) <= 1;
  const [pointsX, pointsY] = [scaleX, scaleY].map((scale) =>
    grows ? 1 : Math.max(2, Math.ceil(scale / 1.4)));
  const [ax, bx] = turn([scaleX / pointsX, 0], whole.angle);
  const [ay, by] = turn([0, scaleY / pointsY], whole.angle);
  const [cornerX, cornerY] = turn([-across / 2, -down / 2], whole.angle);
  // a pixel's number is half a pixel less than its centre, on either side of the map
  const map = [
    ax, ay, x + cornerX + (ax + ay) / 2 - 0.5,
    bx, by, y + cornerY + (bx + by) / 2 - 0.5,
  ];
  const fine = warped(near, map, width * pointsX, height * pointsY, grows);
  return grows ? fine : shrunk(fine, width, height);
}
