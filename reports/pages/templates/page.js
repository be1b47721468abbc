// Any pair of counters.
let drawn = Promise.resolve();
function show() {
  const pair = reconcile(pairs.sides[$("left").value], pairs.sides[$("right").value]);
  const { rows, title } = waterfall(pair);
  const spec = structuredClone(data.waterfall);
  spec.data.values = rows;
  spec.height = (spec.height / data.waterfall.data.values.length) * rows.length;
  for (const layer of spec.layer) {
    layer.encoding.x.scale.domain = [rows[0].floor, rows[0].top];
    layer.encoding.x.title = title;
  }
  drawPair(pair);
  drawn = drawn.then(() => draw("waterfall", spec));
}
function choose(changed, other, before) {
  if (changed.value === other.value) other.value = before;
  chosen = [$("left").value, $("right").value];
  if (!window.vegaEmbed) $("waterfall").textContent = "There is no picture of this pair: the script of the charts has not run.";
  show();
}
let chosen;
if (data.waterfall) {
  const [left, right] = [$("left"), $("right")];
  chosen = [left.value, right.value];
  left.addEventListener("change", () => choose(left, right, chosen[0]));
  right.addEventListener("change", () => choose(right, left, chosen[1]));
  $("swap").addEventListener("click", () => {
    [left.value, right.value] = [right.value, left.value];
    choose(left, right, chosen[0]);
  });
  $("pick").hidden = false;
  $("pick").addEventListener("submit", (event) => event.preventDefault());
  show();
}

// The chart of the totals is there as a picture, so it can wait for that of the pair.
if (data.totals) {
  data.totals.config.legend.columns = Math.max(1, Math.floor(($("totals").clientWidth - 190) / 150));
  drawn = drawn.catch(() => {}).then(() => draw("totals", data.totals));
}

// One paper sentence at a time, with buttons that copy.
const papers = [...document.querySelectorAll(".paper")];
if (papers.length) {
  const pick = () => papers.forEach((paper, i) => { paper.hidden = i !== Number($("paper-of").value); });
  papers.forEach((paper) => { paper.querySelector("h3").hidden = true; });
  $("papers").hidden = false;
  $("paper-of").addEventListener("change", pick);
  pick();
}
async function copy(button, from) {
  const said = button.textContent;
  try {
    await navigator.clipboard.writeText(from.textContent);
    button.textContent = "copied";
  } catch {
    getSelection().selectAllChildren(from);
    button.textContent = document.execCommand("copy") ? "copied" : "selected: press Ctrl+C";
  }
  setTimeout(() => { button.textContent = said; }, 1600);
}
document.querySelectorAll(".copy").forEach((box) => {
  const [from, button] = box.children;
  button.hidden = false;
  button.addEventListener("click", () => copy(button, from));
});

// Layer by layer. Integers beyond 2^53 arrive as text and stay exact as BigInt.
const exact = (value) => (typeof value === "string" ? BigInt(value) : value);
const grouped = new Intl.NumberFormat("en-US");
const text = (value, none = "–") => (value === null ? none : grouped.format(value));
const fields = data.layers.counters.map((_, i) => `c${i}`);
const sum = (values) => text(values.reduce((total, value) => total + BigInt(value ?? 0), 0n));
const bound = (values) => (values.includes(null) ? `at least ${sum(values)}` : sum(values)); // of what is unpriced
// As wide as its sum: to let the table measure its columns takes one layout of the page for each.
const pen = document.createElement("canvas").getContext("2d");
pen.font = getComputedStyle($("layer-table")).font;
const wide = (title, field) => {
  const texts = [title, bound(data.layers.rows.map((row) => row[field]))];
  return Math.ceil(Math.max(92, ...texts.map((text) => pen.measureText(text).width))) + 28;
};
const numeric = (title, field, none) => ({
  title, field, width: wide(title, field), hozAlign: "right", headerHozAlign: "right", headerSortStartingDir: "desc", minWidth: 120,
  titleFormatter: plain, formatter: (cell) => text(cell.getValue(), none), bottomCalc: none ? bound : sum,
  bottomCalcFormatter: (cell) => cell.getValue(), sorter: (a, b) => { const [x, y] = [a, b].map((value) => value ?? (none ? Infinity : -1)); return x < y ? -1 : x > y ? 1 : 0; },
});
function plain(cell) { // a node, where Tabulator would take a string for HTML
  cell.getElement().title = cell.getValue();
  return document.createTextNode(cell.getValue());
}
const roomy = matchMedia("(min-width: 641px)").matches;
const named = (title, field, options = {}) => ({ title, field, minWidth: 120, titleFormatter: plain, formatter: plain, ...options });
function layerTable() {
  for (const row of data.layers.rows) for (const field of ["macs", "outputs", ...fields]) row[field] = exact(row[field]);
  const table = new window.Tabulator("#layer-table", {
    data: data.layers.rows,
    layout: "fitDataFill",
    height: data.layers.rows.length > 14 ? 520 : undefined,
    nestedFieldSeparator: false,
    placeholder: "No layer matches.",
    columns: [
      named("site", "site", { frozen: roomy, minWidth: 170, maxWidth: 320, bottomCalc: () => "sum of these rows" }),
      named("operation", "op"),
      named("module", "module"),
      numeric("MACs", "macs", "unknown"),
      numeric("elements out", "outputs"),
      ...fields.map((field, i) => numeric(data.layers.counters[i], field)),
    ],
  });
  const ops = [...new Set(data.layers.rows.map((row) => row.op))].sort();
  $("op-filter").append(...ops.map((op) => new Option(op, op)));
  const differ = (row) => fields.some((field) => row[field] !== row[fields[0]]);
  function filter() {
    const site = $("site-filter").value.toLowerCase();
    const op = $("op-filter").value;
    const only = $("differ-filter").checked;
    table.setFilter((row) => row.site.toLowerCase().includes(site) && (!op || row.op === op) && (!only || differ(row)));
  }
  table.on("dataFiltered", (_, rows) => { $("shown").textContent = `${text(rows.length)} of ${text(data.layers.rows.length)} rows`; });
  table.on("tableBuilt", () => {
    for (const event of ["input", "change"]) $("filters").addEventListener(event, filter);
    $("filters").addEventListener("submit", (event) => event.preventDefault());
    $("filters").hidden = false;
    $("shown").textContent = `${text(data.layers.rows.length)} rows`;
  });
}
// Laying out a table of many counters takes longer than everything above it, which is there to be read first.
drawn.catch(() => {}).then(() => setTimeout(layerTable));
