// View of one case: tiles of maps, the table of scores, and the deletion curves.

window.caseView = (() => {
  const { element, number } = window.softcam;
  const maps = window.caseMaps;
  const SCALE = 3; // pixels of a canvas per pixel of a picture
  const KEPT = 40; // decoded images
  const LINES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f"];
  const SVG = "http://www.w3.org/2000/svg";

  /** Set with its arrays unpacked, once. */
  async function load(set) {
    if (!set.loaded) {
      set.loaded = Promise.all(
        set.methods.map(async (method) => {
          method.cellsOf = await maps.unpacked(method.maps, Int8Array);
          method.scaleOf = await maps.unpacked(method.scales, Float32Array);
          method.scores = await maps.unpacked(method.values, Float32Array);
          method.levels = await maps.unpacked(method.curves, Uint8Array);
          method.largest = Math.max(0, ...method.scaleOf.filter((scale) => scale > 0));
        }),
      );
    }
    await set.loaded;
  }

  const decoded = new Map();

  async function pictureOf(set, at) {
    const key = `${set.name}\n${at}`;
    if (!decoded.has(key)) {
      if (decoded.size >= KEPT) decoded.delete(decoded.keys().next().value);
      const parts = [set.images, set.masks].map((files) => maps.pixels(files[at], set.size));
      decoded.set(
        key,
        Promise.all(parts).then(([image, mask]) => ({ image, edges: mask ? maps.outline(mask) : [] })),
      );
    }
    return decoded.get(key);
  }

  /** Score of a method on a case; null where there is none. */
  function score(set, method, metric, at) {
    const value = method.scores[metric * set.ids.length + at];
    return Number.isFinite(value) ? value : null;
  }

  const isKept = (method, at) => !(method.scaleOf[at] < 0);
  const isAveraged = (method) => method.cells.some((cells, axis) => cells > method.grid[axis]);

  function mapOf(method, at, look) {
    const size = method.grid[0] * method.grid[1];
    const cells = method.cellsOf.subarray(at * size, (at + 1) * size);
    const scale = method.scaleOf[at];
    const own = maps.colourEnd(cells, look.quantile);
    const end = look.shared && scale > 0 ? method.largest / scale : own;
    const { grid, start, stride, signed } = method;
    return { cells, grid, start, stride, signed, end, finite: Number.isFinite(scale) };
  }

  function canvasOf(set, label) {
    const canvas = element("canvas", { attributes: { role: "img", "aria-label": label } });
    [canvas.height, canvas.width] = set.size.map((pixels) => pixels * SCALE);
    return canvas;
  }

  function imageTile(set, picture, look) {
    const canvas = canvasOf(set, `Image${picture.edges.length ? " with the outline of the lesion" : ""}`);
    maps.show(canvas, picture.image, look.outline ? picture.edges : []);
    return element("div", { className: "case-tile" }, canvas, element("span", { className: "case-name" }, "image"));
  }

  function methodTile(set, method, at, picture, look, choose) {
    const map = mapOf(method, at, look);
    const metric = set.metrics[look.metric];
    const value = metric ? score(set, method, look.metric, at) : null;
    const facts = [
      metric && value !== null ? `${metric.name.replaceAll("_", " ")} ${number(value)}` : "",
      map.finite ? "" : "NaN or infinite values",
      isAveraged(method) ? `shown at ${method.grid.join("×")}` : "",
    ].filter(Boolean);
    const ends = `${method.signed ? "signed" : "unsigned"}, colours end at ${number(map.end * method.scaleOf[at])}`;
    const canvas = canvasOf(set, `Map of ${method.label}: ${map.finite ? ends : "not finite"}`);
    const painted = maps.paint(map, picture.image, {
      ...look,
      colours: look.colours[method.signed ? "signed" : "unsigned"],
    });
    maps.show(canvas, painted, look.outline ? picture.edges : []);
    const tile = element(
      "button",
      {
        type: "button",
        className: `case-tile case-${method.family}`,
        title: ends,
        attributes: { "aria-pressed": String(method.label === look.method), "data-method": method.label },
      },
      canvas,
      element("span", { className: "case-name" }, method.label),
      element("span", { className: "case-facts" }, facts.join(" · ")),
    );
    tile.addEventListener("click", () => choose(method.label));
    return tile;
  }

  /** Tiles of the image and of the chosen methods that have a map of it. */
  async function tiles(set, at, chosen, look, choose) {
    const picture = await pictureOf(set, at);
    const kept = chosen.filter((method) => isKept(method, at));
    return [imageTile(set, picture, look), ...kept.map((method) => methodTile(set, method, at, picture, look, choose))];
  }

  /** Table of the chosen methods: probability of the explained class, and every score; the best ones are bold. */
  function table(root, set, at, chosen, look) {
    const used = set.metrics
      .map((_, index) => index)
      .filter((index) => chosen.some((one) => score(set, one, index, at) !== null));
    const head = element(
      "tr",
      {},
      ...["method", set.relative ? "output" : "p"].map((text) => element("th", { scope: "col" }, text)),
    );
    for (const index of used) {
      const { name, higher } = set.metrics[index];
      head.append(element("th", { scope: "col" }, `${name.replaceAll("_", " ")} ${higher ? "↑" : "↓"}`));
    }
    const best = used.map((index) => {
      const values = chosen.filter((one) => one.family !== "control").map((one) => score(set, one, index, at));
      const found = values.filter((value) => value !== null);
      return set.metrics[index].higher ? Math.max(...found) : Math.min(...found);
    });
    const rows = chosen.map((method) => {
      const chance = set.heads[method.head].probabilities[at];
      const cells = used.map((index, place) => {
        const value = score(set, method, index, at);
        const isBest = value !== null && value === best[place] && method.family !== "control";
        return element("td", { className: isBest ? "case-best" : "" }, number(value));
      });
      const name = element("th", { scope: "row" }, method.label);
      const row = element("tr", { className: method.label === look.method ? "case-chosen" : "" }, name);
      row.append(element("td", {}, number(chance)), ...cells);
      return row;
    });
    root.replaceChildren(element("thead", {}, head), element("tbody", {}, ...rows));
  }

  function svg(tag, attributes, ...children) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  /** Curves of the chosen methods on a case: nothing where no method has one. */
  function curves(root, set, at, chosen, look) {
    const drawn = chosen
      .map((method) => ({ method, levels: [...method.levels.subarray(at * method.steps, (at + 1) * method.steps)] }))
      .filter(({ levels }) => levels.some((level) => level < 255));
    root.hidden = !drawn.length;
    if (!drawn.length) return root.replaceChildren();
    const x = (step, steps) => 34 + (step / Math.max(steps - 1, 1)) * 440;
    const y = (level) => 12 + (1 - level / 254) * 150;
    const axes = [0, 0.5, 1].flatMap((share) => [
      svg("line", { x1: 34, x2: 474, y1: y(share * 254), y2: y(share * 254), class: "case-grid" }),
      svg("text", { x: 28, y: y(share * 254) + 4, class: "case-tick case-end" }, String(share)),
      svg("text", { x: 34 + share * 440, y: 178, class: "case-tick case-middle" }, `${share * 100} %`),
    ]);
    const legend = element("ul", { className: "case-legend" });
    const lines = drawn.map(({ method, levels }, index) => {
      const points = levels.map((level, step) =>
        level < 255 ? `${x(step, levels.length).toFixed(1)},${y(level).toFixed(1)}` : "",
      );
      const line = svg("polyline", {
        points: points.filter(Boolean).join(" "),
        fill: "none",
        stroke: LINES[index % LINES.length],
      });
      line.setAttribute("stroke-width", method.label === look.method ? 3.2 : 1.6);
      if (index >= LINES.length) line.setAttribute("stroke-dasharray", index >= 2 * LINES.length ? "2 3" : "6 3");
      line.append(svg("title", {}, method.label));
      const key = svg("svg", { viewBox: "0 0 26 8", width: 26, height: 8, "aria-hidden": "true" });
      const sample = line.cloneNode();
      sample.setAttribute("points", "1,4 25,4");
      key.append(sample);
      legend.append(element("li", {}, key, element("span", {}, method.label)));
      return line;
    });
    const targets = [...new Set(drawn.map(({ method }) => set.classes[set.heads[method.head].targets[at]]))];
    const target = (targets.length === 1 && targets[0]) || "the explained class";
    const what = set.relative ? "Output left" : `Probability of ${target}`;
    const title = `${what} while the most important patches are filled (operator ${set.operator})`;
    const picture = svg(
      "svg",
      { viewBox: "0 0 496 196", role: "img", "aria-label": `${title}; one line per method` },
      ...axes,
      ...lines,
    );
    picture.append(svg("text", { x: 254, y: 193, class: "case-tick case-middle" }, "share of the deletion steps"));
    return root.replaceChildren(element("figcaption", {}, title), picture, legend);
  }

  return { curves, load, score, table, tiles };
})();
