// Charts: Vega-Lite draws each panel when it comes into view; legends are buttons that switch methods.

(() => {
  const { data, element } = window.softcam;
  const all = data("charts");
  if (!all || !window.vegaEmbed) return;

  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const paint = (color) => (dark.matches ? (all.dark[color] ?? color) : color);

  function theme() {
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--ink").trim();
    const soft = style.getPropertyValue("--soft").trim();
    const line = style.getPropertyValue("--line").trim();
    const card = style.getPropertyValue("--card").trim();
    const font = getComputedStyle(document.body).fontFamily;
    const axis = { labelColor: soft, titleColor: soft, gridColor: line, domainColor: soft, tickColor: soft };
    return {
      background: "transparent",
      font,
      axis: { ...axis, labelFontSize: 11, titleFontSize: 12, titleFontWeight: "normal" },
      range: { diverging: ["#D55E00", card, "#0072B2"] },
      rule: { color: ink },
      text: { color: ink, fontSize: 11 },
      view: { stroke: null },
    };
  }

  /** Columns of equal length as rows. */
  function rowsOf(values) {
    const names = Object.keys(values);
    if (!names.length) return [];
    return values[names[0]].map((_, at) => Object.fromEntries(names.map((name) => [name, values[name][at]])));
  }

  /** Lines for reference, each with its name as a tooltip. */
  function ruled(lines) {
    return lines.map(([axis, value, title]) => ({
      data: { values: [{ value, title }] },
      mark: { type: "rule", strokeDash: value ? [4, 3] : [1, 0], opacity: 0.6 },
      encoding: { [axis]: { field: "value", type: "quantitative" }, tooltip: { field: "title", type: "nominal" } },
    }));
  }

  function specOf(chart, panel, rows) {
    const spec = structuredClone(chart.spec);
    const { legend } = chart;
    const drawn = legend.length ? looks(legend) : {};
    const own = spec.layer.map((layer) => ({ ...layer, encoding: { ...spec.encoding, ...drawn, ...layer.encoding } }));
    for (const layer of own) if (layer.mark.type !== "line") delete layer.encoding.strokeDash;
    delete spec.encoding;
    return {
      height: 240,
      ...spec,
      layer: [...own, ...ruled(panel.lines)],
      width: "container",
      data: { name: "rows", values: rows },
      config: theme(),
    };
  }

  function looks(legend) {
    const domain = legend.map((one) => one.name);
    const scale = (range) => ({ field: "method", type: "nominal", legend: null, scale: { domain, range } });
    return {
      color: scale(legend.map((one) => paint(one.color))),
      strokeDash: scale(legend.map((one) => one.dash)),
    };
  }

  function swatch(entry) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
    const attributes = { x1: 0, x2: 26, y1: 5, y2: 5, "stroke-width": 2.5, stroke: paint(entry.color) };
    for (const [name, value] of Object.entries(attributes)) line.setAttribute(name, value);
    if (entry.dash[1]) line.setAttribute("stroke-dasharray", entry.dash.join(" "));
    for (const [name, value] of Object.entries({ width: 26, height: 10, "aria-hidden": "true" }))
      svg.setAttribute(name, value);
    svg.append(line);
    return svg;
  }

  /** Everything about one chart that the reader can change, and the views that follow it. */
  function start(figure, chart) {
    const shown = new Set(chart.legend.filter((one) => one.shown).map((one) => one.name));
    const panels = chart.panels.map((panel) => ({ ...panel, rows: rowsOf(panel.values), view: null }));
    const choices = chart.choice
      ? [...new Set(panels.flatMap((panel) => panel.rows.map((row) => row[chart.choice])))]
      : [];
    let chosen = choices[0];
    const visible = (panel) =>
      panel.rows.filter(
        (row) => (!chart.legend.length || shown.has(row.method)) && (!chart.choice || row[chart.choice] === chosen),
      );

    async function draw(panel) {
      panel.view?.finalize();
      const made = await window.vegaEmbed(panel.place, specOf(chart, panel, visible(panel)), {
        ast: true, // expressions are interpreted, because the page forbids code from text
        actions: false,
        defaultStyle: false,
        logLevel: window.vega.Error,
        renderer: "svg",
        tooltip: { disableDefaultStyle: true },
      });
      panel.place.querySelector("svg")?.setAttribute("aria-hidden", "true"); // the panel has a name
      panel.view = made.view;
    }

    const update = () => {
      for (const panel of panels) {
        if (panel.view) panel.view.data("rows", visible(panel)).runAsync();
      }
    };
    const redraw = () => {
      for (const panel of panels) if (panel.view) draw(panel);
    };
    const hideEmpty = () => {
      for (const panel of panels) panel.box.hidden = !panel.rows.some((row) => row[chart.choice] === chosen);
    };

    const grid = figure.querySelector(".panels");
    const several = panels.length > 1;
    grid.replaceChildren(
      ...panels.map((panel) => {
        const label = `${chart.title}: ${panel.title}`;
        panel.place = element("div", { className: "plot", attributes: { role: "img", "aria-label": label } });
        const heading = element("h4", {}, element("bdi", {}, panel.title));
        panel.box = element("div", { className: "panel" }, heading, panel.place);
        return panel.box;
      }),
    );
    if (chart.choice) hideEmpty();
    grid.classList.toggle("several", several);
    const controls = figure.querySelector(".controls");
    if (choices.length > 1) controls.append(chooser(choices));
    if (chart.legend.length) controls.append(legendOf(chart.legend));
    controls.hidden = !controls.childElementCount;

    function chooser(names) {
      const options = names.map((name) => element("option", { value: name }, name.replaceAll("_", " ")));
      const change = (event) => {
        chosen = event.target.value;
        hideEmpty();
        redraw(); // the height follows the number of rows
      };
      return element("label", {}, `${chart.choice} `, element("select", { onchange: change }, ...options));
    }

    function legendOf(legend) {
      const buttons = legend.map((entry) => {
        const press = () => {
          if (!shown.delete(entry.name)) shown.add(entry.name);
          pressed();
        };
        const button = element(
          "button",
          { type: "button", onclick: press },
          swatch(entry),
          element("bdi", {}, entry.name),
        );
        button.dataset.name = entry.name;
        return button;
      });
      const pressed = () => {
        for (const button of buttons) button.setAttribute("aria-pressed", String(shown.has(button.dataset.name)));
        update();
      };
      const every = (isOn) => () => {
        shown.clear();
        if (isOn) for (const entry of legend) shown.add(entry.name);
        pressed();
      };
      const groups = [...new Set(legend.map((entry) => entry.group))].map((group) =>
        element(
          "div",
          { className: "entries", attributes: { role: "group", "aria-label": group } },
          element("span", { className: "soft small" }, group),
          ...buttons.filter((_, at) => legend[at].group === group),
        ),
      );
      pressed();
      const rest = [
        element("button", { type: "button", className: "quiet", onclick: every(true) }, "all"),
        element("button", { type: "button", className: "quiet", onclick: every(false) }, "none"),
      ];
      dark.addEventListener("change", () => {
        buttons.forEach((button, at) => {
          button.querySelector("svg").replaceWith(swatch(legend[at]));
        });
      });
      return element("div", { className: "legend" }, ...groups, element("div", { className: "entries" }, ...rest));
    }

    const seen = new IntersectionObserver(
      (entries) => {
        for (const entry of entries) {
          if (!entry.isIntersecting) continue;
          seen.unobserve(entry.target);
          draw(panels.find((panel) => panel.place === entry.target));
        }
      },
      { rootMargin: "300px" },
    );
    for (const panel of panels) seen.observe(panel.place);
    dark.addEventListener("change", redraw);
    window.addEventListener("beforeprint", () => {
      for (const panel of panels) if (!panel.view && !panel.box.hidden) draw(panel);
    });
  }

  for (const chart of all.charts) {
    const figure = [...document.querySelectorAll("[data-chart]")].find((one) => one.dataset.chart === chart.name);
    if (figure) start(figure, chart);
  }
})();
