// Elements from data. Text only ever becomes text nodes: file names and captions may hold anything.

/** The element with this id, which index.html promises. */
export const at = (id) => document.getElementById(id);

/**
 * Make an element: `on…` properties are listeners, others attributes (null, undefined and false are left out).
 * @param {string} tag
 * @param {Object} [properties]
 * @param {...(Node|string|number|null|undefined|false)} children
 */
export function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** One of the drawings at the top of index.html, for decoration: the control beside it has the name. */
export function icon(name) {
  const [svg, use] = ["svg", "use"].map((tag) => document.createElementNS("http://www.w3.org/2000/svg", tag));
  use.setAttribute("href", `#i-${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/** 1234 -> "1,234", and one word or the other behind it: counted(1, "picture", "pictures"). */
export function counted(number, one, many) {
  return `${number.toLocaleString("en-GB")} ${number === 1 ? one : many}`;
}

/** "a", "a and b", "a, b and c". */
export function listed(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}
