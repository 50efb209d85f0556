// Leaderboard: one table of all methods that is sorted, filtered and saved by the reader.

(() => {
  const { data, element, number } = window.softcam;
  const all = data("leaderboard");
  const root = document.querySelector("#leaderboard .board");
  if (!all || !root) return;

  const MEAN = 0; // place of the mean in a value: mean, low, high, n, whether it is the best
  const KINDS = ["inherent", "post-hoc", "control"];
  const state = {
    place: 0,
    groups: new Set([all.groups[0].name]),
    kinds: new Set(KINDS),
    text: "",
    intervals: false,
    sort: null, // { group, column, down }
  };

  const head = element("thead");
  const pinned = element("tbody", { className: "pinned" });
  const body = element("tbody");
  const caption = element("caption", { className: "hidden-text" });
  const table = element("table", {}, caption, head, pinned, body);
  const says = element("p", { className: "soft small", attributes: { role: "status" } });

  const columns = () =>
    all.groups
      .filter((group) => state.groups.has(group.name))
      .flatMap((group) => group.columns.map((column, at) => ({ group, column, at })))
      .filter(({ group, at }) => mine().some((row) => row.values[group.name]?.[at]));

  const mine = () => {
    const { dataset, backbone } = all.places[state.place];
    return all.rows.filter((row) => row.dataset === dataset && row.backbone === backbone);
  };

  const cell = (row, { group, at }) => row.values[group.name]?.[at] ?? null;

  function shownRows() {
    const wanted = state.text.toLowerCase();
    const rows = mine().filter(
      (row) =>
        row.role === "" &&
        state.kinds.has(row.family) &&
        `${row.label} ${row.explainer} ${row.head}`.toLowerCase().includes(wanted),
    );
    if (!state.sort) return rows;
    const { key, down } = state.sort;
    const value = (row) =>
      key === "method" ? row.label : key === "family" ? KINDS.indexOf(row.family) : cell(row, key)?.[MEAN];
    const sign = down ? -1 : 1;
    return rows.toSorted((one, other) => {
      const [first, second] = [value(one), value(other)];
      if (first === undefined || second === undefined) return (first === undefined) - (second === undefined);
      return sign * (typeof first === "string" ? first.localeCompare(second) : first - second);
    });
  }

  const pinnedRows = () => mine().filter((row) => row.role !== "");

  const isSortedBy = (key) =>
    state.sort &&
    (typeof key === "string"
      ? state.sort.key === key
      : state.sort.key.group === key.group && state.sort.key.at === key.at);

  function sortBy(key) {
    const better = typeof key === "string" ? false : key.column.better !== false;
    state.sort = { key, down: isSortedBy(key) ? !state.sort.down : better };
    show();
  }

  function headCell(title, key, about = "") {
    const sorted = isSortedBy(key);
    const button = element("button", { type: "button", title: about, onclick: () => sortBy(key) }, title);
    button.append(
      element(
        "span",
        { className: "order", attributes: { "aria-hidden": "true" } },
        sorted ? (state.sort.down ? "▼" : "▲") : "",
      ),
    );
    const attributes = { scope: "col" };
    if (sorted) attributes["aria-sort"] = state.sort.down ? "descending" : "ascending";
    return element("th", { attributes }, button);
  }

  function valueCell(row, column) {
    const found = cell(row, column);
    if (!found) return element("td", {}, "–");
    const [mean, low, high, , best] = found;
    const text = element(best ? "b" : "span", {}, number(mean));
    const made = element("td", { title: `${number(mean)} [${number(low)}, ${number(high)}], n = ${found[3]}` }, text);
    if (state.intervals && low !== null) {
      made.append(element("span", { className: "soft" }, ` [${number(low)}, ${number(high)}]`));
    }
    return made;
  }

  function line(row, shown) {
    const names = element("th", { attributes: { scope: "row" } }, element("bdi", {}, row.label));
    const kind = element("span", { className: `kind ${row.family}` }, row.role || row.family);
    return element("tr", {}, names, element("td", {}, kind), ...shown.map((column) => valueCell(row, column)));
  }

  function show() {
    const shown = columns();
    const focused = [...head.querySelectorAll("button")].indexOf(document.activeElement);
    const groups = all.groups
      .map((group) => ({ group, count: shown.filter((one) => one.group === group).length }))
      .filter(({ count }) => count);
    head.replaceChildren(
      element(
        "tr",
        { className: "groups" },
        element("td", { colSpan: 2 }),
        ...groups.map(({ group, count }) =>
          element("th", { colSpan: count, attributes: { scope: "colgroup" } }, group.title),
        ),
      ),
      element(
        "tr",
        {},
        headCell("method", "method"),
        headCell("family", "family"),
        ...shown.map((one) => headCell(one.column.title, one, one.column.about)),
      ),
    );
    if (focused >= 0) head.querySelectorAll("button")[focused]?.focus();
    const rows = shownRows();
    pinned.replaceChildren(...pinnedRows().map((row) => line(row, shown)));
    body.replaceChildren(...rows.map((row) => line(row, shown)));
    caption.textContent = `Scores on ${all.places[state.place].title}`;
    const competing = mine().filter((row) => row.role === "").length;
    const order = state.sort
      ? `, sorted by ${typeof state.sort.key === "string" ? state.sort.key : state.sort.key.column.title}`
      : "";
    says.textContent = `${rows.length} of ${competing} methods${order}`;
  }

  /** Text of a CSV cell, which no spreadsheet reads as a formula. */
  function written(value) {
    if (value === null || value === undefined) return "";
    if (typeof value === "number") return String(value);
    const text = /^\s*[=+\-@\t\r]/.test(value) || /^'+\s*[=+\-@\t\r]/.test(value) ? `'${value}` : value;
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  function csv() {
    const shown = columns();
    const parts = state.intervals ? ["mean", "low", "high", "n"] : ["mean"];
    const header = ["dataset", "backbone", "explainer", "head", "family"];
    const lines = [[...header, ...shown.flatMap(({ column }) => parts.map((part) => `${column.name}_${part}`))]];
    for (const row of [...pinnedRows(), ...shownRows()]) {
      const values = shown.flatMap((one) => parts.map((_, at) => cell(row, one)?.[at]));
      lines.push([...header.map((name) => row[name]), ...values]);
    }
    return `${lines.map((cells) => cells.map(written).join(",")).join("\n")}\n`;
  }

  function save() {
    const address = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    element("a", { href: address, download: "leaderboard.csv" }).click();
    URL.revokeObjectURL(address);
  }

  function check(title, checked, change) {
    const input = element("input", { type: "checkbox", checked, onchange: (event) => change(event.target.checked) });
    return element("label", { className: "check" }, input, title);
  }

  const toggle = (set, name) => (isOn) => {
    if (isOn) set.add(name);
    else set.delete(name);
    if (state.sort && typeof state.sort.key !== "string" && !state.groups.has(state.sort.key.group.name))
      state.sort = null;
    show();
  };

  const places = element(
    "select",
    {
      attributes: { "aria-label": "Data set of the leaderboard" },
      onchange: (event) => {
        state.place = event.target.selectedIndex;
        show();
      },
    },
    ...all.places.map((place) => element("option", {}, place.title)),
  );
  const search = element("input", {
    type: "search",
    placeholder: "method",
    oninput: (event) => {
      state.text = event.target.value;
      show();
    },
  });
  const intervals = check("95 % intervals", false, (isOn) => {
    state.intervals = isOn;
    show();
  });
  const ranked = all.groups
    .flatMap((group) => group.columns.map((column, at) => ({ group, column, at })))
    .filter((one) => one.column.better !== null && one.column.ranked && mine().some((row) => cell(row, one)));
  const key = ranked.find(({ column }) => column.name === all.leading) ?? ranked[0];
  if (key) {
    state.sort = { key, down: key.column.better };
    state.groups = new Set([key.group.name]);
  }
  const families = all.groups.map((group) =>
    check(group.title, state.groups.has(group.name), toggle(state.groups, group.name)),
  );
  const kinds = KINDS.map((kind) => check(kind, true, toggle(state.kinds, kind)));

  root.append(
    element(
      "div",
      { className: "controls" },
      element("label", {}, "Data set ", places),
      element("label", {}, "Search ", search),
      element("fieldset", {}, element("legend", {}, "Metrics"), ...families),
      element("fieldset", {}, element("legend", {}, "Methods"), ...kinds),
      intervals,
      element("button", { type: "button", className: "action", onclick: save }, "Save as CSV"),
    ),
    says,
    element(
      "div",
      { className: "wide results tall", tabIndex: 0, attributes: { role: "region", "aria-label": "Leaderboard" } },
      table,
    ),
  );
  root.hidden = false;
  show();
})();
