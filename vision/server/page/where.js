// Ticked boxes -> the server's filter language.

const quoted = (text) => `'${String(text).replaceAll("'", "''")}'`;

function column(field) {
  const name = field.slice("columns.".length);
  return /^[\w-]+$/.test(name) ? field : `columns."${name}"`;
}

const TESTS = {
  year: (years) =>
    years.map((year) => `(taken_at >= '${Number(year)}' and taken_at < '${Number(year) + 1}')`),
  tags: (tags) => tags.map((tag) => `tags contains ${quoted(tag)}`),
};

function test(field, values) {
  if (TESTS[field]) return `(${TESTS[field](values).join(" or ")})`;
  const name = field.startsWith("columns.") ? column(field) : field;
  return `${name} in (${values.map(quoted).join(", ")})`;
}

/**
 * The whole filter of a state, or null: values of one field are alternatives, fields all must fit.
 * @param {{facets: Object<string, string[]>, width: number|null, where: string}} state
 */
export function whereOf({ facets, width, where }) {
  const tests = Object.entries(facets)
    .filter(([, values]) => values.length)
    .map(([field, values]) => test(field, values));
  if (width) tests.push(`width >= ${width}`);
  if (where) tests.push(tests.length ? `(${where})` : where);
  return tests.join(" and ") || null;
}
