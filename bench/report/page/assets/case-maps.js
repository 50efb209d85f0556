// Maps of cases: unpacked, drawn where their cells look, and coloured. Nothing here knows the page around it.

window.caseMaps = (() => {
  const CUBIC = -0.75; // parameter of the kernel, as bench/maps.py has it
  const LEVELS = 127; // integer of the largest absolute value of a map
  const NOT_FINITE = 0xffcccccc; // opaque grey

  function bytes(text) {
    const raw = atob(text);
    const found = new Uint8Array(raw.length);
    for (let at = 0; at < raw.length; at += 1) found[at] = raw.charCodeAt(at);
    return found;
  }

  /** Array of a type from base64 of its zlib-compressed bytes. */
  async function unpacked(text, Type) {
    if (!text) return new Type(0);
    const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Type(await new Response(stream).arrayBuffer());
  }

  const known = new Map();

  /** The four cells that make each pixel of an axis, and their weights. */
  function taps(cells, pixels, start, stride) {
    const key = [cells, pixels, start, stride].join();
    if (known.has(key)) return known.get(key);
    const at = new Int16Array(4 * pixels);
    const weights = new Float64Array(4 * pixels);
    for (let pixel = 0; pixel < pixels; pixel += 1) {
      const place = (pixel + 0.5 - start) / stride;
      const first = Math.floor(place) - 1;
      for (let tap = 0; tap < 4; tap += 1) {
        const d = Math.abs(place - first - tap);
        const near = ((CUBIC + 2) * d - (CUBIC + 3)) * d * d + 1;
        const far = ((CUBIC * d - 5 * CUBIC) * d + 8 * CUBIC) * d - 4 * CUBIC;
        at[4 * pixel + tap] = Math.min(Math.max(first + tap, 0), cells - 1);
        weights[4 * pixel + tap] = d <= 1 ? near : far;
      }
    }
    known.set(key, { at, weights });
    return known.get(key);
  }

  /** Bicubic map of `size` from cells on `grid`, whose centres are at `start` + i·`stride` pixels; all (rows, columns). */
  function upsample(cells, grid, size, start, stride) {
    const [rows, columns] = grid;
    const [height, width] = size;
    const across = taps(columns, width, start[1], stride[1]);
    const down = taps(rows, height, start[0], stride[0]);
    const wide = new Float64Array(rows * width);
    for (let row = 0; row < rows; row += 1) {
      for (let x = 0; x < width; x += 1) {
        let sum = 0;
        for (let tap = 4 * x; tap < 4 * x + 4; tap += 1)
          sum += across.weights[tap] * cells[row * columns + across.at[tap]];
        wide[row * width + x] = sum;
      }
    }
    const drawn = new Float32Array(height * width);
    for (let y = 0; y < height; y += 1) {
      for (let tap = 4 * y; tap < 4 * y + 4; tap += 1) {
        const weight = down.weights[tap];
        const from = down.at[tap] * width;
        for (let x = 0; x < width; x += 1) drawn[y * width + x] += weight * wide[from + x];
      }
    }
    return drawn;
  }

  /** Absolute value at which the colours of a map end, as share of its largest one; never 0. */
  function colourEnd(cells, quantile) {
    const sorted = Float64Array.from(cells, (value) => Math.abs(value) / LEVELS).sort();
    const place = quantile * (sorted.length - 1);
    const below = Math.floor(place);
    const above = Math.min(below + 1, sorted.length - 1);
    return sorted[below] + (place - below) * (sorted[above] - sorted[below]) || sorted.at(-1) || 1;
  }

  /**
   * Colours a map over its image: pixels below the threshold show the image alone.
   *
   * @param map `cells` (int8), `grid`, `start`, `stride`, `signed`, `end` of the colours, and `finite`
   * @param image ImageData
   * @param look `opacity` and `threshold` in [0, 1], and `colours` (256×3)
   */
  function paint(map, image, look) {
    const { width, height, data } = image;
    const painted = new ImageData(width, height);
    const target = painted.data;
    if (!map.finite) {
      new Uint32Array(target.buffer).fill(NOT_FINITE);
      return painted;
    }
    const drawn = upsample(map.cells, map.grid, [height, width], map.start, map.stride);
    for (let pixel = 0; pixel < drawn.length; pixel += 1) {
      const value = Math.min(Math.max(drawn[pixel] / LEVELS / map.end, -1), 1);
      const position = map.signed ? (value + 1) / 2 : Math.max(value, 0);
      const colour = 3 * Math.min(Math.floor(position * 256), 255);
      const at = 4 * pixel;
      const grey = (data[at] + data[at + 1] + data[at + 2]) / 765;
      const size = map.signed ? Math.abs(value) : Math.max(value, 0);
      const opacity = size < look.threshold ? 0 : look.opacity;
      for (let channel = 0; channel < 3; channel += 1) {
        const tint = look.colours[colour + channel] * (0.5 + 0.5 * grey);
        target[at + channel] = data[at + channel] * (1 - opacity) + tint * opacity;
      }
      target[at + 3] = 255;
    }
    return painted;
  }

  /** Edges between the white and the black pixels of a mask, as x, y, x, y of each. */
  function outline(mask) {
    const { width, height, data } = mask;
    const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && data[4 * (y * width + x)] > 127;
    const edges = [];
    for (let y = 0; y <= height; y += 1) {
      for (let x = 0; x <= width; x += 1) {
        if (inside(x, y) !== inside(x - 1, y)) edges.push([x, y, x, y + 1]);
        if (inside(x, y) !== inside(x, y - 1)) edges.push([x, y, x + 1, y]);
      }
    }
    return edges;
  }

  /** Pixels of an image file, from base64; null without one. */
  async function pixels(text, size) {
    if (!text) return null;
    const image = new Image();
    image.src = address(text);
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.height, canvas.width] = size;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, canvas.width, canvas.height);
  }

  /** Address of an image file, whose first bytes say what it is. */
  const address = (text) => `data:image/${text.startsWith("UklGR") ? "webp" : "png"};base64,${text}`;

  /** Draws pixels as large as the canvas, with the outline of a mask above. */
  function show(canvas, picture, edges) {
    const context = canvas.getContext("2d");
    const source = document.createElement("canvas");
    source.width = picture.width;
    source.height = picture.height;
    source.getContext("2d").putImageData(picture, 0, 0);
    const scale = canvas.width / picture.width;
    context.imageSmoothingQuality = "high";
    context.drawImage(source, 0, 0, canvas.width, canvas.height);
    context.beginPath();
    for (const [x, y, right, below] of edges) {
      context.moveTo(x * scale, y * scale);
      context.lineTo(right * scale, below * scale);
    }
    context.lineCap = "square";
    for (const [colour, width] of [
      ["#000000", 3],
      ["#ffe14d", 1.4],
    ]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.stroke();
    }
  }

  return { address, colourEnd, outline, paint, pixels, show, unpacked, upsample };
})();
