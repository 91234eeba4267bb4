// OpenCV's cascades of Haar features (Viola and Jones 2001): what cv2.CascadeClassifier does, in its own
// arithmetic, so that boxes are the same as those that a recogniser's faces were cut by.

import { bitExact, even, greyPlane } from "./pixels.js";

const SLACK = Math.fround(1e-5);  // what OpenCV leaves stages of their threshold
const GROUP_EPS = 0.2;

// faces of a picture; each next cascade looks only where those before found nothing
export function findByCascades(image, cascades, settings) {
  const { scale_factor: factor, min_neighbours: neighbours, min_share: share } = settings;
  const plane = greyPlane(image);
  const smallest = even(share * Math.min(image.width, image.height));
  for (const cascade of cascades) {
    const found = grouped(windows(plane, cascade, factor, smallest), neighbours).map((box) => clipped(box, image));
    if (!found.length) continue;
    return found.map(({ hits, ...box }) => ({ box, score: hits / (hits + 10), landmarks: null }));
  }
  return [];
}

// what classifiers/page/cascades.py wrote, laid out flat: walked a hundred thousand times a picture
export function unpacked({ width, height, features, stages }) {
  const trees = stages.flatMap((stage) => stage.trees);
  const count = (of) => trees.reduce((sum, tree) => sum + tree[of].length, 0);
  const made = {
    width, height, features,
    stages: stages.map(({ threshold, trees: own }) => ({
      threshold: Math.fround(Math.fround(threshold) - SLACK), trees: own.length,
    })),
    firstNode: new Int32Array(trees.length), firstLeaf: new Int32Array(trees.length),
    lefts: new Int32Array(count(0) / 4), rights: new Int32Array(count(0) / 4),
    feature: new Int32Array(count(0) / 4), threshold: new Float32Array(count(0) / 4),
    leaves: new Float32Array(count(1)),
  };
  let [node, leaf] = [0, 0];
  trees.forEach(([nodes, leaves], i) => {
    [made.firstNode[i], made.firstLeaf[i]] = [node, leaf];
    for (let at = 0; at < nodes.length; at += 4, node++) {
      [made.lefts[node], made.rights[node], made.feature[node], made.threshold[node]] = nodes.slice(at, at + 4);
    }
    made.leaves.set(leaves, leaf);
    leaf += leaves.length;
  });
  return made;
}

// every window in which the cascade sees a face, at every scale
function windows(plane, cascade, factor, smallest) {
  const { width, height } = plane;
  const all = [];
  for (let scale = 1; ; scale *= factor) {
    const [across, down] = [even(cascade.width * scale), even(cascade.height * scale)];
    if (across > width || down > height) break;
    const single = Math.fround(scale);
    const grown = (side) => even(Math.fround(side * single));
    all.push({ scale: single, across: grown(cascade.width), down: grown(cascade.height) });
  }
  let scales = all.filter(({ across, down }) => across >= smallest && down >= smallest);
  if (!scales.length && all.length) {
    const off = ({ across, down }) => (smallest - across) ** 2 + (smallest - down) ** 2;
    scales = [all.reduce((a, b) => (off(b) < off(a) ? b : a))];
  }
  const found = [];
  if (!scales.length) return found;
  const size = (side, { scale }) => even(Math.fround(side / scale));
  const stride = size(width, scales[0]) + 1;
  const sums = new Int32Array(stride * (size(height, scales[0]) + 1));
  const squares = new Int32Array(sums.length);
  const look = classifier(cascade, sums, squares, stride);
  for (const each of scales) {
    const small = bitExact(plane, size(width, each), size(height, each));
    integrate(small, sums, squares, stride);
    const step = each.scale >= 2 ? 1 : 2;
    for (let y = 0; y <= small.height - cascade.height; y += step) {
      for (let x = 0; x <= small.width - cascade.width; x += step) {
        const seen = look(y * stride + x);
        if (seen > 0) {
          const [left, top] = [even(Math.fround(x * each.scale)), even(Math.fround(y * each.scale))];
          found.push({ left, top, width: each.across, height: each.down });
        } else if (seen === 0) x += step;  // what the first stage turns down has such neighbours
      }
    }
  }
  return found;
}

// sums over all that lies above and to the left, of values and of their squares; they wrap as OpenCV's do
function integrate({ width, height, data }, sums, squares, stride) {
  sums.fill(0, 0, stride);
  squares.fill(0, 0, stride);
  for (let y = 0; y < height; y++) {
    let [sum, square] = [0, 0];
    let at = (y + 1) * stride;
    sums[at] = squares[at] = 0;
    for (let x = 0; x < width; x++) {
      const value = data[y * width + x];
      sum += value;
      square += value * value;
      at++;
      sums[at] = sums[at - stride] + sum;
      squares[at] = squares[at - stride] + square;
    }
  }
}

// a function of a place in the sums: 1 for a face, or less: minus the number of the stage that said no
function classifier(cascade, sums, squares, stride) {
  const { stages, firstNode, firstLeaf, lefts, rights, feature, threshold, leaves, features } = cascade;
  const [x, y] = [cascade.width - 1, cascade.height - 1];  // the window without its border
  const [a, b, c, d] = [stride + 1, stride + x, y * stride + 1, y * stride + x];
  const area = (x - 1) * (y - 1);
  const corners = new Int32Array(12 * features.length);
  const weights = new Float64Array(3 * features.length);
  features.forEach((rectangles, i) => {
    for (let r = 0; 5 * r < rectangles.length; r++) {
      const [left, top, wide, high, weight] = rectangles.slice(5 * r, 5 * r + 5);
      const first = top * stride + left;
      corners.set([first, first + wide, first + high * stride, first + high * stride + wide], 12 * i + 4 * r);
      weights[3 * i + r] = weight;
    }
  });
  const value = (i, at) => {
    let total = 0;
    for (let r = 3 * i, k = 12 * i; r < 3 * i + 3 && weights[r]; r++, k += 4) {
      const sum = sums[at + corners[k]] - sums[at + corners[k + 1]] - sums[at + corners[k + 2]] + sums[at + corners[k + 3]];
      total += weights[r] * sum;
    }
    return total;
  };
  return (at) => {
    const sum = sums[at + a] - sums[at + b] - sums[at + c] + sums[at + d];
    const square = (squares[at + a] - squares[at + b] - squares[at + c] + squares[at + d]) >>> 0;
    const spread = area * square - sum * sum;
    if (!(spread > 0)) return -1;
    const norm = Math.fround(1 / Math.sqrt(spread));
    if (!(Math.fround(area * norm) < 0.1)) return -1;  // flat: nothing to see
    let tree = 0;
    for (let stage = 0; stage < stages.length; stage++) {
      let said = 0;
      for (const end = tree + stages[stage].trees; tree < end; tree++) {
        let node = 0;
        do {
          const here = firstNode[tree] + node;
          node = Math.fround(value(feature[here], at) * norm) < threshold[here] ? lefts[here] : rights[here];
        } while (node > 0);
        said += leaves[firstLeaf[tree] - node];
      }
      if (said < stages[stage].threshold) return -stage;
    }
    return 1;
  };
}

// one box for windows that lie alike, if they are more than `fewest`; small ones within others go
function grouped(boxes, fewest) {
  if (fewest <= 0) return boxes.map((box) => ({ ...box, hits: 1 }));
  const groups = [];
  for (const group of classes(boxes)) {
    if (group.length <= fewest) continue;
    const mean = (of) => even(Math.fround(group.reduce((sum, box) => sum + box[of], 0) * Math.fround(1 / group.length)));
    groups.push({ left: mean("left"), top: mean("top"), width: mean("width"), height: mean("height"), hits: group.length });
  }
  return groups.filter((one) => !groups.some((other) => other !== one && within(one, other) &&
    (other.hits > Math.max(3, one.hits) || one.hits < 3)));
}

function clipped(box, { width, height }) {
  return { ...box, width: Math.min(box.width, width - box.left), height: Math.min(box.height, height - box.top) };
}

function within(one, other) {
  const [dx, dy] = [even(other.width * GROUP_EPS), even(other.height * GROUP_EPS)];
  return one.left >= other.left - dx && one.top >= other.top - dy &&
    one.left + one.width <= other.left + other.width + dx && one.top + one.height <= other.top + other.height + dy;
}

// boxes that are alike, directly or through others
function classes(boxes) {
  const parents = boxes.map((_, i) => i);
  const root = (i) => {
    while (parents[i] !== i) i = parents[i] = parents[parents[i]];
    return i;
  };
  boxes.forEach((one, i) => {
    for (let j = 0; j < i; j++) if (alike(one, boxes[j])) parents[root(j)] = root(i);
  });
  const groups = new Map();
  boxes.forEach((box, i) => groups.set(root(i), [...(groups.get(root(i)) ?? []), box]));
  return [...groups.values()];
}

function alike(one, other) {
  const delta = (GROUP_EPS * (Math.min(one.width, other.width) + Math.min(one.height, other.height))) / 2;
  return Math.abs(one.left - other.left) <= delta && Math.abs(one.top - other.top) <= delta &&
    Math.abs(one.left + one.width - other.left - other.width) <= delta &&
    Math.abs(one.top + one.height - other.top - other.height) <= delta;
}
