// Case browser: choice of cases and methods, keys, and an address for every case.

(() => {
  const { data, element, number } = window.softcam;
  const view = window.caseView;
  const all = data("cases");
  const root = document.getElementById("case-app");
  if (!all || !root || !all.sets.length) return;

  const SIZES = ["small", "medium", "large"];
  const THUMBS = 9; // on either side of the case
  const state = { set: all.sets[0], order: [], at: 0, method: "" };
  const colours = {};
  const controls = {};
  let latest = 0; // number of the last drawing: an earlier one that ends later is dropped

  // --- Controls ---

  function labelled(text, control, className = "") {
    return element("label", { className: `case-field ${className}` }, element("span", {}, text), control);
  }

  /** Select that calls `changed`; options are texts, or pairs of value and text. */
  function select(name, options, changed) {
    const made = controls[name] ?? element("select", { id: `case-${name}` });
    const before = made.value;
    made.replaceChildren(
      ...options.map((one) => (Array.isArray(one) ? one : [one, one])).map(([value, text]) => new Option(text, value)),
    );
    if ([...made.options].some((option) => option.value === before)) made.value = before;
    if (!controls[name]) made.addEventListener("change", changed);
    controls[name] = made;
    return made;
  }

  function range(name, value, changed) {
    const made = element("input", { type: "range", id: `case-${name}`, min: 0, max: 100, value });
    const says = element("output", {}, `${value} %`);
    made.addEventListener("input", () => {
      says.textContent = `${made.value} %`;
      changed();
    });
    controls[name] = made;
    return element("span", { className: "case-range" }, made, says);
  }

  function checkbox(name, checked, changed) {
    const made = element("input", { type: "checkbox", id: `case-${name}`, checked });
    made.addEventListener("change", changed);
    controls[name] = made;
    return made;
  }

  function limit(name) {
    const made = element("input", {
      type: "number",
      step: "any",
      id: `case-${name}`,
      attributes: { "aria-label": name === "from" ? "lowest score" : "highest score" },
    });
    made.addEventListener("input", filter);
    controls[name] = made;
    return made;
  }

  /** Options that depend on the set. */
  function fill() {
    const { set } = state;
    const labels = [...new Set(set.labels)];
    const methods = set.methods.map((method) => method.label);
    const outcomes = all.outcomes.map((text, code) => [String(code), text]);
    select("class", [["", "all"], ...labels.map((label) => [`=${label}`, label])], filter);
    select(
      "head",
      set.heads.map((head, at) => [String(at), head.name]),
      filter,
    );
    select("outcome", [["", "all"], ...outcomes], filter);
    select(
      "size",
      [["", "all"], ...SIZES.map((text, code) => [String(code), text]), ["-1", "no lesion, or unknown"]],
      filter,
    );
    select("a", methods, filter);
    select("b", methods, filter);
    select(
      "metric",
      set.metrics.map((metric, at) => [String(at), `${metric.name.replaceAll("_", " ")} ${metric.higher ? "↑" : "↓"}`]),
      filter,
    );
    const second = set.methods.find((method) => method.shown && method.family === "post-hoc") ?? set.methods.at(-1);
    controls.a.value = set.methods[0].label;
    controls.b.value = second.label;
    controls.methods.replaceChildren(
      ...set.methods.map((method) => {
        const box = element("input", { type: "checkbox", checked: method.shown, value: method.label });
        box.addEventListener("change", () => {
          method.shown = box.checked;
          draw();
        });
        return element(
          "label",
          { className: `case-${method.family}` },
          box,
          element("span", {}, method.label),
          element("small", {}, ` ${method.family}`),
        );
      }),
    );
    controls.notes.replaceChildren(...set.notes.map((note) => element("p", { className: "caption" }, note)));
  }

  function choose(which) {
    for (const [at, box] of [...controls.methods.querySelectorAll("input")].entries()) {
      const method = state.set.methods[at];
      method.shown = which === "all" || (which === "default" && method.first);
      box.checked = method.shown;
    }
    draw();
  }

  function build() {
    const sets = all.sets.map((set, at) => [String(at), set.name]);
    const orders = [
      ["run", "order of the run"],
      ["a", "where A beats B"],
      ["b", "where B beats A"],
      ["worst", "worst score of A first"],
      ["p", "lowest probability first"],
      ["lesion", "smallest lesion first"],
    ];
    const chosen = select("set", sets, () => open(all.sets[Number(controls.set.value)]));
    const first = element("div", {
      className: "case-row",
      attributes: { role: "group", "aria-label": "Choice of cases" },
    });
    if (sets.length > 1) first.append(labelled("Data set", chosen));
    for (const [text, name] of [
      ["Class", "class"],
      ["Outcome", "outcome"],
      ["by classifier", "head"],
      ["Lesion", "size"],
    ]) {
      first.append(labelled(text, select(name, [], filter)));
    }
    const second = element("div", {
      className: "case-row",
      attributes: { role: "group", "aria-label": "Comparison of methods" },
    });
    second.append(labelled("Order", select("order", orders, filter)));
    for (const [text, name] of [
      ["A", "a"],
      ["B", "b"],
      ["Score", "metric"],
    ])
      second.append(labelled(text, select(name, [], filter)));
    const between = element("span", { className: "case-between" }, limit("from"), "to", limit("to"));
    second.append(element("div", { className: "case-field" }, element("span", {}, "Score of A from"), between));
    const third = element("div", {
      className: "case-row",
      attributes: { role: "group", "aria-label": "Look of the maps" },
    });
    third.append(
      labelled("Opacity of maps", range("opacity", 85, draw)),
      labelled("Hide below", range("threshold", 0, draw)),
    );
    third.append(labelled("Outline of the lesion", checkbox("outline", true, draw), "case-check"));
    third.append(labelled("One colour scale per method", checkbox("shared", false, draw), "case-check"));
    controls.methods = element("div", { className: "case-methods" });
    const buttons = ["default", "all", "none"].map((which) => {
      const made = element("button", { type: "button" }, which);
      made.addEventListener("click", () => choose(which));
      return made;
    });
    const chooser = element(
      "details",
      { id: "case-chooser" },
      element("summary", {}, "Methods"),
      element("p", {}, ...buttons),
      controls.methods,
    );
    controls.notes = element("div");
    const steps = [
      ["first", "|◀", "Home"],
      ["previous", "◀", "ArrowLeft"],
      ["next", "▶", "ArrowRight"],
      ["last", "▶|", "End"],
    ];
    const bar = element("div", { className: "case-bar" });
    for (const [text, sign, key] of steps) {
      const made = element(
        "button",
        { type: "button", title: `${text} case (${key})`, attributes: { "aria-label": `${text} case` } },
        sign,
      );
      made.addEventListener("click", () => move(key));
      bar.append(made);
    }
    controls.status = element("p", { id: "case-status", attributes: { role: "status" } });
    bar.append(controls.status);
    controls.strip = element("div", {
      className: "case-strip",
      attributes: { role: "group", "aria-label": "Neighbouring cases" },
    });
    controls.heading = element("h3", { id: "case-title", tabIndex: -1 });
    controls.facts = element("p", { className: "soft" });
    controls.tiles = element("div", { className: "case-tiles" });
    controls.table = element("table", { id: "case-table" });
    controls.curves = element("figure", { className: "case-curves" });
    controls.case = element("div", { id: "case-view" }, controls.heading, controls.facts, controls.tiles, scale());
    const wide = element(
      "div",
      { className: "wide", tabIndex: 0, attributes: { role: "region", "aria-label": "Scores of this image" } },
      controls.table,
    );
    controls.case.append(wide, controls.curves);
    root.replaceChildren(first, second, third, chooser, bar, controls.strip, controls.case, controls.notes);
    root.addEventListener("keydown", pressed);
    for (const set of all.sets) for (const method of set.methods) method.first = method.shown;
  }

  /** Legend of both colour maps. */
  function scale() {
    const ends = { signed: ["against the class", "for it"], unsigned: ["0", "important"] };
    const bars = Object.entries(ends).map(([kind, [low, high]]) => {
      const canvas = element("canvas", { width: 256, height: 1, attributes: { "aria-hidden": "true" } });
      const context = canvas.getContext("2d");
      const row = context.createImageData(256, 1);
      for (let at = 0; at < 256; at += 1) row.data.set([...colours[kind].subarray(3 * at, 3 * at + 3), 255], 4 * at);
      context.putImageData(row, 0, 0);
      return element("span", { className: "case-scale" }, `${kind}: ${low} `, canvas, ` ${high}`);
    });
    const text = "Each map has its own colour scale: methods have different units, so compare where, not how much.";
    return element("p", { className: "caption" }, ...bars, text);
  }

  // --- Cases ---

  const method = (label) => state.set.methods.find((one) => one.label === label);

  /** By how much A beats B on a case; null where one of them has no score. */
  function lead(at) {
    const metric = Number(controls.metric.value);
    const [ours, theirs] = [controls.a.value, controls.b.value].map((label) =>
      view.score(state.set, method(label), metric, at),
    );
    if (ours === null || theirs === null) return null;
    return state.set.metrics[metric].higher ? ours - theirs : theirs - ours;
  }

  /** What cases are sorted by, lowest first; null comes last. */
  function rank(at) {
    const { set } = state;
    const order = controls.order.value;
    if (order === "p") return set.heads[Number(controls.head.value)].probabilities[at];
    if (order === "lesion") return set.areas[at] || null;
    if (!set.metrics.length || order === "run") return null;
    if (order === "worst") {
      const metric = Number(controls.metric.value);
      const value = view.score(set, method(controls.a.value), metric, at);
      return value === null ? null : value * (set.metrics[metric].higher ? 1 : -1);
    }
    const found = lead(at);
    return found === null ? null : order === "a" ? -found : found;
  }

  function isWanted(at) {
    const { set } = state;
    const { class: label, outcome, size, head, from, to } = controls;
    if (label.value && label.value !== `=${set.labels[at]}`) return false;
    if (outcome.value && Number(outcome.value) !== set.heads[Number(head.value)].outcomes[at]) return false;
    if (size.value && Number(size.value) !== set.sizes[at]) return false;
    if (from.value === "" && to.value === "") return true;
    const value = set.metrics.length
      ? view.score(set, method(controls.a.value), Number(controls.metric.value), at)
      : null;
    return (
      value !== null &&
      (from.value === "" || value >= Number(from.value)) &&
      (to.value === "" || value <= Number(to.value))
    );
  }

  function arrange() {
    const places = state.set.ids.map((_, at) => at).filter(isWanted);
    const ranks = new Map(places.map((at) => [at, rank(at) ?? Infinity]));
    state.order = places.sort((one, other) =>
      ranks.get(one) === ranks.get(other) ? one - other : ranks.get(one) - ranks.get(other),
    );
  }

  /** Keeps the case if it is still wanted while only filters change; a new order starts with its first case. */
  function filter(event) {
    const { target } = event;
    arrange();
    const sorts =
      [controls.order, controls.a, controls.b, controls.metric].includes(target) && controls.order.value !== "run";
    if (sorts || !state.order.includes(state.at)) state.at = state.order[0] ?? -1;
    address();
    draw();
  }

  function move(key) {
    const { order } = state;
    const place = order.indexOf(state.at);
    const next = { Home: 0, End: order.length - 1, ArrowLeft: place - 1, ArrowRight: place + 1 }[key];
    if (next < 0 || next >= order.length || next === place) return;
    state.at = order[next];
    address();
    draw();
  }

  function pressed(event) {
    const key = { ArrowUp: "ArrowLeft", ArrowDown: "ArrowRight" }[event.key] ?? event.key;
    const isOther =
      !["Home", "End", "ArrowLeft", "ArrowRight"].includes(key) ||
      event.ctrlKey ||
      event.altKey ||
      event.metaKey ||
      event.shiftKey;
    if (isOther || event.target.closest("input, select, textarea, .wide")) return;
    event.preventDefault();
    move(key);
  }

  // --- Addresses ---

  function hash(at) {
    const parts = {
      ...(all.sets.length > 1 ? { data: state.set.name } : {}),
      image: state.set.ids[at],
      method: state.method,
    };
    const given = Object.entries(parts).filter(([, value]) => value);
    return `#${given.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&")}`;
  }

  function address() {
    if (state.at >= 0) history.replaceState(null, "", hash(state.at));
  }

  /** Opens the case that the address names; false if it names none. */
  async function follow() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    const image = wanted.get("image");
    if (image === null) return false;
    const named = all.sets.filter((set) => wanted.get("data") === null || set.name === wanted.get("data"));
    const set = named.find((one) => one.ids.includes(image));
    if (!set) {
      await open(state.set);
      controls.status.textContent = `The image ${image} is not among those of this page.`;
    } else {
      const label = wanted.get("method") ?? "";
      for (const name of ["class", "outcome", "size", "from", "to"]) controls[name].value = "";
      const chosen = set.methods.find((one) => one.label === label);
      if (chosen) chosen.shown = true;
      await open(set, set.ids.indexOf(image), chosen ? label : "");
    }
    root.closest("section")?.scrollIntoView();
    controls.heading.focus({ preventScroll: true });
    return true;
  }

  async function open(set, at = 0, label = "") {
    state.set = set;
    controls.set.value = String(all.sets.indexOf(set));
    await view.load(set);
    fill();
    arrange();
    state.at = state.order.includes(at) ? at : (state.order[0] ?? -1);
    state.method = label;
    await draw();
  }

  // --- Drawing ---

  const percent = (share) => `${(100 * share).toFixed(share < 0.01 ? 2 : 1)} %`;

  function describe(at) {
    const { set } = state;
    const head = set.heads[Number(controls.head.value)] ?? set.heads[0];
    const chance = head.probabilities[at];
    const target = set.classes[head.targets[at]] ?? "the explained class";
    const texts = [`class: ${set.labels[at]}`];
    if (head.outcomes[at] >= 0) texts.push(`${all.outcomes[head.outcomes[at]]} by ${head.name}`);
    if (chance !== null) texts.push(set.relative ? `output ${number(chance)}` : `p(${target}) = ${number(chance)}`);
    if (set.areas[at]) texts.push(`lesion: ${percent(set.areas[at])} of the image (${SIZES[set.sizes[at]] ?? ""})`);
    const found = set.metrics.length ? lead(at) : null;
    if (["a", "b"].includes(controls.order.value) && found !== null) {
      const [winner, loser] = found < 0 ? [controls.b.value, controls.a.value] : [controls.a.value, controls.b.value];
      texts.push(found === 0 ? "both equal" : `${winner} beats ${loser} by ${number(Math.abs(found))}`);
    }
    return texts.join(" · ");
  }

  function drawStrip(place) {
    const { set, order } = state;
    const near = order.slice(Math.max(0, place - THUMBS), place + THUMBS + 1);
    const focused = controls.strip.contains(document.activeElement);
    const made = near.map((at) => {
      const image = element("img", { src: window.caseMaps.address(set.images[at]), alt: "", width: 44, height: 44 });
      const thumb = element(
        "button",
        { type: "button", title: set.ids[at], attributes: { "aria-label": `case ${set.titles[at]}` } },
        image,
      );
      if (at === state.at) thumb.setAttribute("aria-current", "true");
      thumb.addEventListener("click", () => {
        state.at = at;
        address();
        draw();
      });
      return thumb;
    });
    controls.strip.replaceChildren(...made);
    const current = made[near.indexOf(state.at)];
    if (focused) current.focus({ preventScroll: true });
    controls.strip.scrollLeft = current.offsetLeft - controls.strip.clientWidth / 2 + current.clientWidth / 2;
  }

  async function draw() {
    const { set, order, at } = state;
    latest += 1;
    const turn = latest;
    const place = order.indexOf(at);
    controls.case.hidden = place < 0;
    controls.strip.hidden = place < 0;
    const more = set.ids.length < set.kept ? `, out of ${set.kept} that the run kept` : "";
    controls.status.textContent =
      place < 0
        ? "No case matches these filters."
        : `Case ${place + 1} of ${order.length} (${set.ids.length} in this page${more})`;
    if (place < 0) return;
    drawStrip(place);
    const link = element("a", { href: hash(at), className: "case-link" }, "link");
    controls.heading.replaceChildren(element("bdi", {}, set.titles[at]), " ", link);
    controls.heading.title = set.ids[at];
    controls.facts.textContent = describe(at);
    const chosen = set.methods.filter((one) => one.shown);
    const look = {
      opacity: Number(controls.opacity.value) / 100,
      threshold: Number(controls.threshold.value) / 100,
      outline: controls.outline.checked,
      shared: controls.shared.checked,
      quantile: all.quantile,
      metric: Number(controls.metric.value),
      method: state.method,
      colours,
    };
    view.table(controls.table, set, at, chosen, look);
    view.curves(controls.curves, set, at, chosen, look);
    const tiles = await view.tiles(set, at, chosen, look, pick);
    if (turn !== latest) return;
    const focused = document.activeElement?.dataset?.method;
    controls.tiles.replaceChildren(...tiles);
    if (focused !== undefined) tiles.find((tile) => tile.dataset.method === focused)?.focus();
    root.dataset.drawn = `${set.ids[at]} ${turn}`;
  }

  function pick(label) {
    state.method = state.method === label ? "" : label;
    address();
    draw();
  }

  async function start() {
    for (const kind of ["signed", "unsigned"])
      colours[kind] = await window.caseMaps.unpacked(all.colours[kind], Uint8Array);
    build();
    window.addEventListener("hashchange", follow);
    if (!(await follow())) await open(all.sets[0]);
  }

  start();
})();
