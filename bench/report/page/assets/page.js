// What every script of the page shares: reading data, building elements, opening what a link points at.

document.documentElement.classList.add("js");

window.softcam = (() => {
  /** Data of a section (`Section.data`), or null. */
  function data(name) {
    const block = document.getElementById(`data-${name}`);
    return block ? JSON.parse(block.textContent) : null;
  }

  /** New element; properties are set as they are, attributes come from `attributes`, children are nodes or text. */
  function element(tag, properties = {}, ...children) {
    const { attributes = {}, ...rest } = properties;
    const made = document.createElement(tag);
    Object.assign(made, rest);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  /** Number as the tables print it. */
  function number(value) {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    if (size > 1e-12 && size < 0.001) {
      const [digits, exponent] = value.toExponential(1).split("e");
      return `${digits}e${exponent[0]}${exponent.slice(1).padStart(2, "0")}`;
    }
    if (size <= 1e-12) return "0.000";
    return value.toFixed(size < 10 ? 3 : size < 1000 ? 1 : 0);
  }

  /** Opens the element that the address names, and everything around it. */
  function reveal() {
    let name = location.hash.slice(1);
    try {
      name = decodeURIComponent(name);
    } catch {
      return; // not an address that this page made
    }
    const target = name ? document.getElementById(name) : null;
    if (!target) return;
    for (let one = target; one; one = one.parentElement) {
      if (one instanceof HTMLDetailsElement) one.open = true;
    }
    target.scrollIntoView();
  }

  window.addEventListener("hashchange", reveal);
  window.addEventListener("load", reveal);
  return { data, element, number };
})();
