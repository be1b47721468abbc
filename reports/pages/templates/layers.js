// The tree of modules, and the list of their operations. Integers beyond 2^53 arrive as text; sums are BigInt.
const CHUNK = 200; // rows drawn at once: a reader asks for more
const layers = data.layers;
const texts = layers.texts;
const counted = layers.counters.map(([name, half], i) => ({ name, half, i }));
const exact = (n) => (typeof n === "string" ? BigInt(n) : n);
const shown = (n, half) => {
  if (n === null) return "–";
  if (!half) return grouped(n);
  const whole = BigInt(n);
  return grouped(whole / 2n) + (whole % 2n ? ".5" : "");
};
const twice = (n) => (typeof n === "number" && n < 2 ** 52 ? n * 2 : BigInt(n) * 2n);
// A charge in half MACs, so that those in FLOPs are whole.
const charge = (of, counter, i) => {
  const n = of.counts[counter.i][i];
  return n === null ? null : counter.half ? exact(n) : twice(n);
};
const off = (of, counter, i) => of.macs[i] !== null && charge(of, counter, i) != twice(of.macs[i]);
const unlike = (of, i) => counted.some((counter) => charge(of, counter, i) != charge(of, counted[0], i));
const macs = (of, i) => (of.macs[i] === null ? "unknown" : (of.least?.[i] ? "at least " : "") + grouped(of.macs[i]));
const share = (n, all) => {
  const tenths = Number((BigInt(n) * 1000n) / BigInt(all));
  return tenths || !BigInt(n) ? `${tenths / 10} %` : "< 0.1 %";
};
const named = (at) => (of, i) => texts[of[at][i]];
const charges = counted.map((counter) => ({
  title: counter.name, unit: counter.half ? "FLOPs ÷ 2" : "", counter, number: true,
  text: (of, i) => shown(of.counts[counter.i][i], counter.half), off: (of, i) => off(of, counter, i),
  sum: (of, rows) => shown(total(rows.map((i) => of.counts[counter.i][i] ?? 0)), counter.half),
  order: (of, i) => of.counts[counter.i][i] ?? -1,
}));
const count = (title, at) => ({
  title, number: true, text: (of, i) => grouped(of[at][i]), order: (of, i) => of[at][i],
  sum: (of, rows) => grouped(total(rows.map((i) => of[at][i]))),
});
const views = {
  tree: {
    of: layers.tree, name: "module", foot: false,
    columns: [
      { title: "class", text: named("kind") }, { title: "output", text: named("output") }, count("parameters", "params"),
      { title: "MACs", number: true, text: macs },
      { title: "share", number: true, text: (of, i) => (BigInt(of.macs[0]) ? share(of.macs[i], of.macs[0]) : "–") },
      ...charges,
    ],
  },
  list: {
    of: layers.list, name: "site", foot: true,
    columns: [
      { title: "operation", text: named("op"), order: named("op") }, { title: "module", text: named("kind"), order: named("kind") },
      { title: "MACs", number: true, text: macs, order: (of, i) => of.macs[i] ?? Infinity,
        sum: (of, rows) => (rows.some((i) => of.macs[i] === null) ? "at least " : "") + grouped(total(rows.map((i) => of.macs[i] ?? 0))) },
      count("elements out", "outputs"), ...charges,
    ],
  },
};
let view = views.tree;
let drawnRows = CHUNK;
let sorted = null; // { column, falling } of the list
const open = new Set();
const depths = layers.tree.depth;
const inner = (i) => depths[i + 1] > depths[i];
const unfold = (levels) => { open.clear(); depths.forEach((depth, i) => { if (depth < levels && inner(i)) open.add(i); }); };
const deepest = depths.reduce((most, depth) => Math.max(most, depth), 0);

const wanted = () => {
  const site = $("site-filter").value.toLowerCase(), op = view === views.list && $("op-filter").value, only = $("differ-filter").checked;
  const { of } = view;
  const none = !site && !op && !only;
  return none ? null : (i) => (
    texts[of.site[i]].toLowerCase().includes(site) && (!op || texts[of.op[i]] === op) && (!only || unlike(of, i)));
};
// Of the tree: what is unfolded, or what a filter wants and the modules that hold it.
function branches(wants) {
  const rows = [];
  if (!wants) {
    for (let i = 0, hidden = Infinity; i < depths.length; i++) {
      if (depths[i] > hidden) continue;
      hidden = inner(i) && !open.has(i) ? depths[i] : Infinity;
      rows.push(i);
    }
    return rows;
  }
  for (let i = depths.length - 1, level = 0; i >= 0; i--) {
    const above = depths[i] < level;
    if (above || wants(i)) { rows.push(i); level = depths[i]; } else level = Math.min(level, depths[i]);
  }
  return rows.reverse();
}
function list(wants) {
  const rows = [...views.list.of.site.keys()];
  const kept = wants ? rows.filter(wants) : rows;
  if (!sorted) return kept;
  const { column, falling } = sorted;
  const keys = new Map(kept.map((i) => [i, typeof column.order(view.of, i) === "string" && column.number ? BigInt(column.order(view.of, i)) : column.order(view.of, i)]));
  return kept.sort((a, b) => {
    const [x, y] = [keys.get(a), keys.get(b)];
    return (x < y ? -1 : x > y ? 1 : 0) * (falling ? -1 : 1);
  });
}

const bySite = { title: "", text: named("site"), order: named("site") };
function heading(column, at) {
  const cell = element("th", column.number ? "n" : "");
  cell.scope = "col";
  const title = at ? column.title : view.name;
  if (view === views.list) {
    const button = element("button", "sort", title);
    button.type = "button";
    button.addEventListener("click", () => {
      sorted = { column, falling: sorted?.column === column ? !sorted.falling : !!column.number };
      drawLayers();
      $("layer-table").querySelectorAll(".sort")[at].focus();
    });
    cell.append(button);
    if (sorted?.column === column) cell.setAttribute("aria-sort", sorted.falling ? "descending" : "ascending");
  } else cell.append(explained(title));
  if (column.unit) cell.append(" ", element("span", "unit", column.unit));
  return cell;
}
function rowHead(i) {
  const cell = element("th", "");
  cell.scope = "row";
  if (view === views.list) { cell.append(texts[view.of.site[i]]); return cell; }
  cell.style.setProperty("--depth", depths[i]);
  const name = texts[view.of.name[i]];
  if (!inner(i)) { cell.append(element("span", "leaf", name)); return cell; }
  const button = element("button", "fold", name);
  button.type = "button";
  button.dataset.row = i;
  button.setAttribute("aria-expanded", open.has(i));
  cell.append(button);
  return cell;
}
function turn(i, wide = !open.has(i)) {
  if (wide) open.add(i); else open.delete(i);
  drawLayers();
  $("layer-table").querySelector(`[data-row="${i}"]`)?.focus();
}
function drawLayers() {
  const wants = wanted();
  const rows = view === views.tree ? branches(wants) : list(wants);
  const { of, columns } = view;
  const head = element("tr", "", ...[bySite, ...columns].map(heading));
  const body = rows.slice(0, drawnRows).map((i) => element("tr", "", rowHead(i), ...columns.map((column) => (
    element("td", `${column.number ? "n" : ""}${column.off?.(of, i) ? " off" : ""}`, column.text(of, i))))));
  const parts = [element("thead", "", head), element("tbody", "", ...body)];
  if (view.foot) {
    const name = element("th", "", "sum of these rows");
    name.scope = "row";
    parts.push(element("tfoot", "", element("tr", "", name, ...columns.map((column) => element("td", "n", column.sum?.(of, rows) ?? "")))));
  }
  const table = element("table", `layers${counted.length > 8 ? " many" : ""}`, ...parts);
  if (counted.length > 8) label(table);
  $("layer-table").replaceChildren(table);
  const all = of.site.length;
  $("shown").textContent = rows.length < all ? `${grouped(rows.length)} of ${grouped(all)} rows` : `${grouped(all)} rows`;
  $("more").hidden = rows.length <= drawnRows;
  $("more").textContent = `show ${grouped(Math.min(CHUNK * 5, rows.length - drawnRows))} more of ${grouped(rows.length - drawnRows)}`;
  for (const name of Object.keys(views)) $(`view-${name}`).setAttribute("aria-pressed", view === views[name]);
  $("op-label").hidden = view === views.tree;
  $("depth-label").hidden = view === views.list;
}
// In print a table of many columns is a list of records, each number under the name of its column.
function label(table) {
  const heads = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
  for (const row of table.querySelectorAll("tbody tr, tfoot tr")) [...row.cells].forEach((cell, i) => { cell.dataset.label = heads[i]; });
}

const again = () => { drawnRows = CHUNK; drawLayers(); };
for (const event of ["input", "change"]) $("filters").addEventListener(event, (found) => {
  if (found.target === $("depth")) unfold(Number($("depth").value));
  again();
});
$("filters").addEventListener("submit", (event) => event.preventDefault());
for (const name of Object.keys(views)) $(`view-${name}`).addEventListener("click", () => { view = views[name]; again(); });
$("more").addEventListener("click", () => { drawnRows += CHUNK * 5; drawLayers(); });
$("layer-table").addEventListener("click", (event) => {
  const button = event.target.closest(".fold");
  if (button) turn(Number(button.dataset.row));
});
$("layer-table").addEventListener("keydown", (event) => {
  const button = event.target.closest(".fold");
  if (!button) return;
  const buttons = [...$("layer-table").querySelectorAll(".fold")];
  const to = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (to) buttons[buttons.indexOf(button) + to]?.focus();
  else if (event.key === "ArrowRight") turn(Number(button.dataset.row), true);
  else if (event.key === "ArrowLeft") turn(Number(button.dataset.row), false);
  else return;
  event.preventDefault();
});
const ops = [...new Set(layers.list.op)].map((op) => texts[op]).sort();
$("op-filter").append(...ops.map((op) => new Option(op, op)));
const levels = [...Array(deepest).keys()].map((n) => n + 1);
$("depth").append(...levels.map((n) => new Option(n === deepest ? `all ${n}` : n, n)));
const fits = levels.filter((n) => depths.filter((depth) => depth <= n).length <= 40).at(-1) ?? 1;
if (levels.length) { $("depth").value = fits; unfold(fits); }
drawLayers();
$("filters").hidden = false;
