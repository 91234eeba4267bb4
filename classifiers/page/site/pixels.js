// Pictures, and the few operations on them that cutting a face needs, as OpenCV and Pillow do them.
// A picture is {width, height, channels, data}: bytes row by row, RGB or grey. The rounding is theirs
// too: a recogniser is given what it learned from.

const clip = (value, most) => Math.min(Math.max(value, 0), most);

export function picture(width, height, channels = 3) {
  return { width, height, channels, data: new Uint8ClampedArray(width * height * channels) };
}

export function fromRgba({ width, height, data }) {
  const made = picture(width, height);
  for (let from = 0, to = 0; to < made.data.length; from += 4, to += 3) {
    made.data[to] = data[from];
    made.data[to + 1] = data[from + 1];
    made.data[to + 2] = data[from + 2];
  }
  return made;
}

export function toImageData({ width, height, data }) {
  const made = new ImageData(width, height);
  for (let from = 0, to = 0; from < data.length; from += 3, to += 4) {
    made.data[to] = data[from];
    made.data[to + 1] = data[from + 1];
    made.data[to + 2] = data[from + 2];
    made.data[to + 3] = 255;
  }
  return made;
}

// where a place beyond a row of pixels is seen; -1: nowhere, it is black
function seenAt(place, length, border) {
  if (place >= 0 && place < length) return place;
  if (border === "black") return -1;
  if (border === "edge" || length === 1) return clip(place, length - 1);
  const period = 2 * length - 2;  // the edge itself is not repeated
  const within = ((place % period) + period) % period;
  return within < length ? within : period - within;
}

// a part of a picture, which may reach out of it
export function part(image, left, top, width, height, border) {
  const { channels } = image;
  const made = picture(width, height, channels);
  const columns = Array.from({ length: width }, (_, x) => seenAt(left + x, image.width, border));
  for (let y = 0; y < height; y++) {
    const row = seenAt(top + y, image.height, border);
    if (row < 0) continue;
    for (let x = 0; x < width; x++) {
      if (columns[x] < 0) continue;
      const from = (row * image.width + columns[x]) * channels;
      const to = (y * width + x) * channels;
      for (let c = 0; c < channels; c++) made.data[to + c] = image.data[from + c];
    }
  }
  return made;
}

export function mirrored(image) {
  const { width, height, channels } = image;
  const made = picture(width, height, channels);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < channels; c++) {
        made.data[(y * width + width - 1 - x) * channels + c] = image.data[(y * width + x) * channels + c];
      }
    }
  }
  return made;
}

// Weighted sums along rows and then columns: taps[i] = [first pixel, weights]. `between` rounds what
// the first pass leaves to bytes, as Pillow does; OpenCV keeps it.
function separable(image, across, down, between, round) {
  const { width, height, channels } = image;
  const low = Math.min(...down.map(([first]) => first));
  const high = Math.max(...down.map(([first, weights]) => first + weights.length));
  const middle = new Float64Array(across.length * (high - low) * channels);
  for (let y = low, to = 0; y < high; y++) {
    for (const [first, weights] of across) {
      for (let c = 0; c < channels; c++, to++) {
        let sum = 0;
        for (let i = 0, at = (y * width + first) * channels + c; i < weights.length; i++, at += channels) {
          sum += weights[i] * image.data[at];
        }
        middle[to] = between(sum);
      }
    }
  }
  const made = picture(across.length, down.length, channels);
  const step = across.length * channels;
  for (let y = 0, to = 0; y < down.length; y++) {
    const [first, weights] = down[y];
    for (let x = 0; x < step; x++, to++) {
      let sum = 0;
      for (let i = 0, at = (first - low) * step + x; i < weights.length; i++, at += step) {
        sum += weights[i] * middle[at];
      }
      made.data[to] = round(sum);
    }
  }
  return made;
}

// half to even, as OpenCV and Python round
export function even(value) {
  const down = Math.floor(value);
  const rest = value - down;
  return rest > 0.5 || (rest === 0.5 && down % 2) ? down + 1 : down;
}
const asIs = (value) => value;

// means over the area of each new pixel
function areaTaps(length, size) {
  const scale = length / size;
  return Array.from({ length: size }, (_, place) => {
    const start = place * scale;
    const end = Math.min(start + scale, length);
    const first = Math.floor(start + 1e-9);
    const last = Math.min(Math.ceil(end - 1e-9), length);
    const weights = [];
    for (let i = first; i < last; i++) {
      weights.push((Math.min(i + 1, end) - Math.max(i, start)) / (end - start));
    }
    return [first, weights];
  });
}

function linearTaps(length, size) {
  return Array.from({ length: size }, (_, place) => {
    const at = clip(((place + 0.5) * length) / size - 0.5, length - 1);
    const first = Math.min(Math.floor(at), Math.max(0, length - 2));
    return length === 1 ? [0, [1]] : [first, [1 - (at - first), at - first]];
  });
}

export function shrunk(image, width, height) {
  // as OpenCV, which rounds a mean of four otherwise than other means
  if (image.width === 2 * width && image.height === 2 * height) return halved(image);
  return separable(image, areaTaps(image.width, width), areaTaps(image.height, height), asIs, even);
}

export function halved(image) {
  // means of four, halves rounded up
  const { width, height, channels } = image;
  const made = picture(width >> 1, height >> 1, channels);
  const row = width * channels;
  for (let y = 0, to = 0; y < made.height; y++) {
    for (let x = 0; x < made.width; x++) {
      for (let c = 0; c < channels; c++, to++) {
        const at = 2 * y * row + 2 * x * channels + c;
        const { data } = image;
        made.data[to] = (data[at] + data[at + channels] + data[at + row] + data[at + row + channels] + 2) >> 2;
      }
    }
  }
  return made;
}

// brings the longer side to `side`; also the picture's pixels to one of these
export function resized(image, side) {
  const scale = side / Math.max(image.width, image.height);
  const width = Math.max(1, even(image.width * scale));
  const height = Math.max(1, even(image.height * scale));
  const small = scale < 1 ? shrunk(image, width, height) :
    separable(image, linearTaps(image.width, width), linearTaps(image.height, height), asIs, even);
  return [small, image.width / width, image.height / height];
}

// Pillow's bicubic filter, which widens as pictures shrink, in its fixed point
const POINT = 2 ** 22;
function cubicTaps(start, extent, length, size) {
  const scale = extent / size;
  const wide = Math.max(scale, 1);
  return Array.from({ length: size }, (_, place) => {
    const centre = start + (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - 2 * wide + 0.5));
    const last = Math.min(length, Math.trunc(centre + 2 * wide + 0.5));
    const weights = [];
    for (let i = first; i < last; i++) weights.push(cubic((i - centre + 0.5) / wide, -0.5));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return [first, weights.map((weight) => {
      const whole = (weight / sum) * POINT;
      return Math.trunc(whole < 0 ? whole - 0.5 : whole + 0.5);
    })];
  });
}

function cubic(distance, a) {
  const x = Math.abs(distance);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

export function bicubic(image, left, top, extentX, extentY, width, height) {
  const across = cubicTaps(left, extentX, image.width, width);
  const down = cubicTaps(top, extentY, image.height, height);
  const round = (sum) => clip(Math.floor((sum + POINT / 2) / POINT), 255);
  return separable(image, across, down, round, round);
}

// Samples at [ax ay; bx by] (x, y) + shift, pixel centres at whole numbers; beyond the picture its edge
// goes on. OpenCV places samples on a grid of 32 steps a pixel, reckoning in whole 1024ths.
export function warped(image, [ax, ay, shiftX, bx, by, shiftY], width, height, cubically) {
  const { channels, data } = image;
  const made = picture(width, height, channels);
  const weightsAt = Array.from({ length: 32 }, (_, step) => {
    const rest = step / 32;
    return cubically ? [-1, 0, 1, 2].map((i) => cubic(i - rest, -0.75)) : [1 - rest, rest];
  });
  const reach = cubically ? 4 : 2;
  const columns = new Int32Array(reach);
  const along = Array.from({ length: width }, (_, x) => [even(ax * x * 1024), even(bx * x * 1024)]);
  for (let y = 0, to = 0; y < height; y++) {
    const [startX, startY] = [even((ay * y + shiftX) * 1024) + 16, even((by * y + shiftY) * 1024) + 16];
    for (let x = 0; x < width; x++, to += channels) {
      const stepsX = (startX + along[x][0]) >> 5;
      const stepsY = (startY + along[x][1]) >> 5;
      const firstX = (stepsX >> 5) - (cubically ? 1 : 0);
      const firstY = (stepsY >> 5) - (cubically ? 1 : 0);
      const across = weightsAt[stepsX & 31];
      const down = weightsAt[stepsY & 31];
      for (let i = 0; i < reach; i++) columns[i] = clip(firstX + i, image.width - 1) * channels;
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        for (let j = 0; j < reach; j++) {
          const row = clip(firstY + j, image.height - 1) * image.width * channels + c;
          let line = 0;
          for (let i = 0; i < reach; i++) line += across[i] * data[row + columns[i]];
          sum += down[j] * line;
        }
        made.data[to + c] = clip(Math.floor(sum + 0.5), 255);
      }
    }
  }
  return made;
}

export function padded(image, size) {
  const left = Math.floor((size - image.width) / 2);
  const top = Math.floor((size - image.height) / 2);
  return part(image, -left, -top, size, size, "black");
}

const luma = (r, g, b) => (4899 * r + 9617 * g + 1868 * b + 8192) >> 14;

// one channel
export function greyPlane({ width, height, data }) {
  const made = picture(width, height, 1);
  for (let at = 0, to = 0; to < made.data.length; at += 3, to++) {
    made.data[to] = (9798 * data[at] + 19235 * data[at + 1] + 3735 * data[at + 2] + 16384) >> 15;
  }
  return made;
}

// three equal channels
export function grey(image) {
  const made = picture(image.width, image.height);
  greyPlane(image).data.forEach((value, i) => made.data.fill(value, 3 * i, 3 * i + 3));
  return made;
}

// a picture of one channel brought to a size: OpenCV's linear interpolation in whole numbers
export function bitExact({ width, height, data }, toWidth, toHeight) {
  const taps = (length, size) => Array.from({ length: size }, (_, place) => {
    const at = clip((place + 0.5) * (length / size) - 0.5, length - 1);
    const first = Math.floor(at);
    return [first, Math.min(first + 1, length - 1), even(256 * (at - first))];
  });
  const across = taps(width, toWidth);
  const made = picture(toWidth, toHeight, 1);
  const lefts = Int32Array.from(across, ([left]) => left);
  const rights = Int32Array.from(across, ([, right]) => right);
  const rests = Int32Array.from(across, ([, , rest]) => rest);
  let to = 0;
  for (const [above, below, down] of taps(height, toHeight)) {
    const [one, other] = [above * width, below * width];
    for (let x = 0; x < toWidth; x++, to++) {
      const [left, right, rest] = [lefts[x], rights[x], rests[x]];
      const upper = data[one + left] * (256 - rest) + data[one + right] * rest;
      const lower = data[other + left] * (256 - rest) + data[other + right] * rest;
      made.data[to] = (upper * (256 - down) + lower * down + 32768) >> 16;
    }
  }
  return made;
}

// Contrast-limited adaptive equalisation of the luminance (Zuiderveld 1994), in OpenCV's steps
export function equalised(image, clipLimit, tiles) {
  const { width, height, data } = image;
  const light = picture(width, height, 1);
  for (let at = 0, to = 0; at < data.length; at += 3, to++) {
    light.data[to] = luma(data[at], data[at + 1], data[at + 2]);
  }
  const whole = width % tiles === 0 && height % tiles === 0;
  const fullWidth = whole ? width : width + tiles - (width % tiles);
  const fullHeight = whole ? height : height + tiles - (height % tiles);
  const full = part(light, 0, 0, fullWidth, fullHeight, "mirror");
  const tileWidth = fullWidth / tiles;
  const tileHeight = fullHeight / tiles;
  const tables = [];
  for (let row = 0; row < tiles; row++) {
    for (let column = 0; column < tiles; column++) {
      tables.push(table(full, column * tileWidth, row * tileHeight, tileWidth, tileHeight, clipLimit));
    }
  }
  const made = picture(width, height);
  for (let y = 0, at = 0; y < height; y++) {
    const [above, below, restY] = neighbours(y / tileHeight - 0.5, tiles);
    for (let x = 0; x < width; x++, at += 3) {
      const [left, right, restX] = neighbours(x / tileWidth - 0.5, tiles);
      const old = light.data[at / 3];
      const mixed = (row) =>
        tables[row * tiles + left][old] * (1 - restX) + tables[row * tiles + right][old] * restX;
      const value = even(mixed(above) * (1 - restY) + mixed(below) * restY);
      const cr = descaled((data[at] - old) * 11682) + 128;
      const cb = descaled((data[at + 2] - old) * 9241) + 128;
      const red = clip(cr, 255) - 128;
      const blue = clip(cb, 255) - 128;
      made.data[at] = value + descaled(22987 * red);
      made.data[at + 1] = value + descaled(-11698 * red - 5636 * blue);
      made.data[at + 2] = value + descaled(29049 * blue);
    }
  }
  return made;
}

const descaled = (value) => (value + 8192) >> 14;

function neighbours(place, tiles) {
  const first = Math.floor(place);
  return [clip(first, tiles - 1), clip(first + 1, tiles - 1), place - first];
}

function table(image, left, top, width, height, clipLimit) {
  const counts = new Array(256).fill(0);
  for (let y = top; y < top + height; y++) {
    for (let x = left; x < left + width; x++) counts[image.data[y * image.width + x]]++;
  }
  const most = Math.max(1, Math.trunc((clipLimit * width * height) / 256));
  let surplus = 0;
  for (let i = 0; i < 256; i++) {
    surplus += Math.max(0, counts[i] - most);
    counts[i] = Math.min(counts[i], most);
  }
  const each = Math.trunc(surplus / 256);
  let rest = surplus - 256 * each;
  for (let i = 0; i < 256; i++) counts[i] += each;
  const step = rest ? Math.max(1, Math.trunc(256 / rest)) : 1;
  for (let i = 0; i < 256 && rest > 0; i += step, rest--) counts[i]++;
  let sum = 0;
  return counts.map((count) => clip(even(((sum += count) * 255) / (width * height)), 255));
}
