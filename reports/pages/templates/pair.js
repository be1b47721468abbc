// One reconciliation: the arithmetic of reconcile.py, the words of words.py, the table of lines.py. Amounts are
// BigInt, so every difference is exact.
const LISTED = 10;
const STEPS = 12;
const pairs = data.pairs;
const said = (index) => pairs.texts[index];
const number = (n) => grouped(BigInt(n));
const signed = (n) => (n > 0n ? "+" : "") + number(n);
const plural = (n, noun) => `${number(n)} ${noun}${BigInt(n) === 1n ? "" : "s"}`;
const listed = (items) => (items.length > 1 ? `${items.slice(0, -1).join(", ")} and ${items.at(-1)}` : items.join(""));
const total = (values) => values.reduce((sum, value) => sum + BigInt(value), 0n);
const size = (n) => (n < 0n ? -n : n);
const word = (op) => said(pairs.ops[op][0]);
const operation = (line) => word(line.op) + (line.phase ? " (backward)" : "");
const joined = (indices) => [...indices].map(said).filter(Boolean).join("; ");
const by = (...keys) => (a, b) => {
  for (const key of keys) if (key(a) !== key(b)) return key(a) < key(b) ? -1 : 1;
  return 0;
};

function failed(side) {
  const { op, site } = pairs.rows;
  const claims = side.failures.filter((failure) => !failure.nowhere);
  const wrong = (i) => claims.some((f) => (f.site === null || f.site === site[i]) && (f.op === null || f.op === op[i]));
  return new Set(claims.length ? op.keys().filter(wrong) : []);
}
const unexplained = (failures) => total(failures.map((f) => BigInt(f.reported) - BigInt(f.claimed)));
const halves = (side, other) => said(side.unit) === "FLOP" && said(other.unit) !== "FLOP";

function reconcile(left, right) {
  const { op, phase, site, elements, kind } = pairs.rows;
  const [halfLeft, halfRight] = [halves(left, right), halves(right, left)];
  const wrong = [failed(left), failed(right)];
  const groups = new Map();
  for (let i = 0; i < op.length; i++) {
    const [a, b] = [BigInt(left.amounts[i]), BigInt(right.amounts[i])];
    if (pairs.ops[op[i]][3] && !a && !b) continue; // views that nobody charges for
    const [ours, theirs] = [left.claims[left.rules[i]], right.claims[right.rules[i]]];
    const formulas = [ours[halfLeft ? 1 : 0], theirs[halfRight ? 1 : 0]];
    const key = `${phase[i]} ${op[i]} ${formulas}`;
    if (!groups.has(key)) {
      groups.set(key, {
        op: op[i], phase: phase[i], formulas: formulas.map(said), amounts: [0n, 0n], sites: new Set(), failing: new Set(), elements: 0n,
        because: [new Set(), new Set()], kinds: new Map(),
      });
    }
    const line = groups.get(key);
    const out = BigInt(elements[i]);
    line.amounts[0] += a;
    line.amounts[1] += b;
    line.sites.add(site[i]);
    if (wrong[0].has(i) || wrong[1].has(i)) line.failing.add(site[i]);
    line.elements += out;
    line.because[0].add(ours[2]);
    line.because[1].add(theirs[2]);
    line.kinds.set(i, [kind[i], out]);
  }
  const lines = [...groups.values()];
  for (const line of lines) {
    line.because = line.because.map(joined);
    if (halfLeft) line.amounts[0] >>= 1n;
    if (halfRight) line.amounts[1] >>= 1n;
  }
  const loose = (op, amounts, because) => {
    const name = said(pairs.ops[op][1]);
    const formulas = amounts.map((amount) => (amount ? name : "0"));
    return { op, formulas, amounts, because, sites: new Set(), failing: new Set(), elements: 0n, kinds: new Map() };
  };
  if (halfLeft || halfRight) {
    const amounts = [left, right].map((side, i) => total(side.amounts) - total(lines.map((line) => line.amounts[i])));
    lines.push(loose(pairs.unit, amounts, amounts.map((amount) => (amount ? word(pairs.unit) : ""))));
  }
  for (const name of new Set([...left.asides, ...right.asides].map((aside) => aside[0]))) {
    const mine = [left, right].map((side) => side.asides.filter((aside) => aside[0] === name));
    lines.push(loose(name, mine.map((asides) => total(asides.map((aside) => aside[1]))),
      mine.map((asides) => joined(new Set(asides.map((aside) => aside[2]))))));
  }
  for (const line of lines) line.difference = line.amounts[0] - line.amounts[1];
  lines.sort(by((x) => -size(x.difference), (x) => -x.amounts[0], (x) => -x.elements, (x) => x.op));
  const rest = [unexplained(left.failures), unexplained(right.failures)];
  return {
    names: [said(left.name), said(right.name)], sides: [left, right], lines, rest,
    difference: BigInt(left.total) - BigInt(right.total), residual: rest[0] - rest[1],
    contributing: lines.filter((line) => line.difference),
    equal: lines.filter((line) => !line.difference && (line.amounts[0] || line.failing.size)),
  };
}

const verified = (line) => (line.sites.size ? `${number(line.sites.size - line.failing.size)} of ${number(line.sites.size)}` : "–");

// Heads and rows, as in lines.py.
function tabled(r) {
  const [left, right] = r.names;
  const row = (line) => [
    line.difference ? "on" : "same",
    [operation(line), ...line.formulas, ...line.amounts.map(number), signed(line.difference), verified(line)],
  ];
  const rest = ["residual", "", "", ...r.rest.map(number), signed(r.residual), ""];
  const lines = [...r.contributing, ...r.equal];
  const sums = [0, 1].map((i) => total(lines.map((line) => line.amounts[i])) + r.rest[i]);
  return {
    heads: ["operation", `${left} charges`, `${right} charges`, left, right, "difference", "formulas hold at"],
    rows: [...lines.map(row), [r.rest[0] || r.rest[1] ? "residual" : "nothing", rest],
      ["sum", ["sum", "", "", ...sums.map(number), signed(sums[0] - sums[1]), ""]]],
  };
}

function leftover(r) {
  const sites = r.lines.reduce((sum, line) => sum + line.sites.size, 0);
  const failing = r.lines.reduce((sum, line) => sum + line.failing.size, 0);
  const checked = `the formulas hold at ${number(sites - failing)} of ${plural(sites, "site")}, operation by operation${leftOut(r)}`;
  const wrong = r.sides.some((side) => side.failures.length);
  if (!r.residual && !wrong && !failing) return `Nothing is left over: residual 0, ${checked}.`;
  const where = r.sides.flatMap((side) => (side.off === null ? [] : [said(side.off)])).join("; ")
    || "at sites that the document does not name";
  const explained = `the totals differ by ${signed(r.difference)}, by their formulas it would be ${signed(r.difference - r.residual)}`;
  if (r.residual) return `LEFT OVER: residual ${signed(r.residual)}, which no formula explains: ${explained}. ${where}. In all, ${checked}.`;
  return `The residual is 0, but formulas fail and their errors cancel: ${where}. In all, ${checked}.`;
}
function leftOut(r) {
  if (!pairs.unpriced) return "";
  const { names, many } = pairs.unpriced;
  const seeing = r.names.filter((_, i) => !r.sides[i].blind);
  if (seeing.length) return `; what ${listed(seeing)} charged for ${said(names)} is not known`;
  return `; ${said(names)}, which ${many ? "have" : "has"} no formula, ${many ? "are" : "is"} in neither total`;
}
function neither(r) {
  const ops = new Map();
  for (const line of r.lines) {
    if (line.amounts[0] || line.amounts[1] || line.failing.size || pairs.ops[line.op][2]) continue;
    ops.set(line.op, [...(ops.get(line.op) ?? []), line]);
  }
  const found = [...ops].map(([op, lines]) => ({ op, lines, elements: total(lines.map((line) => line.elements)) }));
  const named = found.sort(by((x) => -x.elements)).map(uncharged);
  if (!named.length) {
    const held = r.sides.some((side) => side.failures.length) ? "Where the formulas hold, there" : "There";
    return `${held} is no operation that both counters leave out.`;
  }
  const [contribute, them] = named.length === 1 ? ["It contributes", "it"] : ["They contribute", "them"];
  return `Neither counts: ${listed(named)}. ${contribute} nothing to the difference, because neither counter charges for ${them}.`;
}
function uncharged({ op, lines, elements }) {
  const sites = lines.reduce((sum, line) => sum + line.sites.size, 0);
  const space = `${plural(elements, "element")} at ${plural(sites, "site")}`;
  const kinds = new Map();
  for (const [, [kind, out]] of lines.flatMap((line) => [...line.kinds]).sort(by((x) => x[0]))) {
    kinds.set(kind, (kinds.get(kind) ?? 0n) + out);
  }
  if (kinds.size === 1) {
    const [only] = [...kinds.keys()].map(said);
    return `${word(op)} (${only === said(pairs.ops[op][1]) ? "" : `${only}; `}${space})`;
  }
  const most = [...kinds].sort(by((x) => -x[1]));
  const names = most.slice(0, LISTED).map(([kind, out]) => `${said(kind)} ${number(out)}`);
  if (most.length > LISTED) names.push(`${most.length - LISTED} more kinds`);
  return `${word(op)} (${space}${names.length ? ": " : ""}${names.join(", ")})`;
}

function sentences(r) {
  const why = (because) => (because ? ` (${because.replace(/\.+$/, "")})` : "");
  const charges = (line, i) => (
    (line.formulas[i] === "0" ? "charges nothing" : `charges ${line.formulas[i]} = ${number(line.amounts[i])}`)
    + why(line.because[i]));
  const has = (line, i) => (
    (line.formulas[i] === "0" ? "has nothing" : `has ${signed(line.amounts[i])}`)
    + (line.op === pairs.unit ? "" : why(line.because[i])));
  return r.contributing.map((line) => {
    const checked = line.failing.size ? notVerified(line) : "verified at each";
    const [head, says] = line.sites.size
      ? [` from ${operation(line)} at ${plural(line.sites.size, "site")} (${checked})`, charges]
      : [`, ${word(line.op)}`, has];
    return `${signed(line.difference)}${head}: ${r.names[0]} ${says(line, 0)}; ${r.names[1]} ${says(line, 1)}.`;
  });
}
function notVerified(line) {
  const failing = [...line.failing].sort(by((x) => x)).map((site) => said(pairs.sites[site]));
  const more = failing.length > LISTED ? [`${number(failing.length - LISTED)} more`] : [];
  return `NOT verified at ${listed([...failing.slice(0, LISTED), ...more])}`;
}

// The waterfall's bars, as in charts.py.
function waterfall(r) {
  const lines = r.contributing;
  const few = lines.length <= STEPS ? lines : lines.slice(0, STEPS - 1);
  const named = (line) => (lines.filter((other) => operation(other) === operation(line)).length === 1
    ? operation(line) : `${operation(line)} (${line.formulas.join(" → ")})`);
  const steps = few.map((line) => [named(line), line.difference, line.difference > 0n ? "more" : "less"]);
  if (few.length < lines.length) {
    const tail = total(lines.slice(few.length).map((line) => line.difference));
    steps.push([`${lines.length - few.length} smaller lines`, tail, tail > 0n ? "more" : "less"]);
  }
  if (r.residual) steps.push(["RESIDUAL (unexplained)", r.residual, "residual"]);
  let at = BigInt(r.sides[1].total);
  const end = (name, n) => ({ label: name, text: number(n), kind: "total", start: Number(n), end: Number(n), after: number(n) });
  const rows = [end(r.names[1], at)];
  for (const [label, amount, kind] of steps) {
    const start = Number(at);
    at += amount;
    rows.push({ label, text: signed(amount), kind, start, end: Number(at), after: number(at) });
  }
  rows.push(end(r.names[0], at));
  const low = Math.min(...rows.flatMap((row) => [row.start, row.end]));
  const high = Math.max(...rows.flatMap((row) => [row.start, row.end]));
  const margin = high - low || Math.abs(high) || 1;
  const floor = margin > 0.3 * high || low <= margin ? 0 : low - margin * 0.25;
  const span = high - floor || 1;
  for (const row of rows) {
    const start = row.kind === "total" ? floor : row.start;
    row.left = (100 * (Math.min(start, row.end) - floor)) / span;
    row.width = (100 * Math.abs(row.end - start)) / span;
  }
  return { rows, floor };
}
function drawWaterfall(r) {
  const { rows, floor } = waterfall(r);
  $("waterfall").replaceChildren(...rows.map((row) => {
    const bar = element("span", "bar");
    Object.assign(bar.style, { left: `${row.left}%`, width: `${row.width}%` });
    return element("div", `row ${row.kind}`, element("span", "name", row.label), element("span", "track", bar),
      element("span", "value", row.text));
  }));
  $("waterfall").setAttribute("aria-label", `Waterfall from ${r.names[1]}, ${rows[0].text}, to ${r.names[0]}, ${rows.at(-1).text}. The table that follows has its numbers.`);
  $("waterfall-numbers").replaceChildren(...rows.map((row) => {
    const head = element("th", "", row.label);
    head.scope = "row";
    return element("tr", "", head, element("td", "n", row.text), element("td", "n", row.after));
  }));
  $("floor").hidden = !floor;
}

// Elements, whose text is text whatever it holds.
function element(tag, classes, ...children) {
  const made = document.createElement(tag);
  if (classes) made.className = classes;
  made.append(...children);
  return made;
}
// A word of ours in a text, with what it means behind a button.
const glossary = new RegExp(`(?<!\\S)(${Object.keys(data.words).join("|")})s?(?!\\S)`);
function explained(text) {
  const found = glossary.exec(text);
  const made = document.createDocumentFragment();
  if (!found) { made.append(text); return made; }
  const button = element("button", "term", found[0]);
  button.type = "button";
  button.title = data.words[found[1]];
  button.setAttribute("popovertarget", `word-${found[1]}`);
  made.append(text.slice(0, found.index), button, text.slice(found.index + found[0].length));
  return made;
}
function drawnTable({ heads, rows }) {
  const numeric = (i) => i > 2;
  const formula = (text) => (text === "0" ? element("span", "nil", text) : element("code", "", text));
  const cell = (text, i) => {
    const [some, all] = text.split(" of ");
    const classes = numeric(i) ? `n${i === 5 ? " diff" : ""}${i === 6 && all && some !== all ? " bad" : ""}` : "";
    return element("td", classes, i < 3 && text ? formula(text) : text);
  };
  const drawn = rows.map(([kind, [name, ...cells]]) => {
    const head = element("th", "", data.words[name] ? explained(name) : name);
    head.scope = "row";
    return element("tr", kind, head, ...cells.map((text, i) => cell(text, i + 1)));
  });
  const top = element("tr", "", ...heads.map((text, i) => element("th", numeric(i) ? "n" : "", explained(text))));
  for (const cell of top.cells) cell.scope = "col";
  const box = element("div", "scroll", element("table", "lines", element("thead", "", top),
    element("tbody", "", ...drawn.slice(0, -1)), element("tfoot", "", drawn.at(-1))));
  Object.assign(box, { tabIndex: 0, role: "group", ariaLabel: "the lines of the difference" });
  return box;
}
function drawPair(r) {
  const [left, right] = r.names;
  $("pair-lines").replaceChildren(
    element("p", "equation", element("span", "", left), " − ", element("span", "", right), " = ",
      element("strong", "", signed(r.difference))),
    drawnTable(tabled(r)),
  );
  const reasons = sentences(r);
  if (!reasons.length) reasons.push("No line contributes: the two totals are made of the same amounts.");
  const alarm = r.sides.some((side) => side.failures.length);
  $("pair-reasons").replaceChildren(
    element("p", `verdict${alarm ? " alarm" : ""}`, leftover(r)),
    element("p", "neither", neither(r)),
    element("h3", "", "Why"),
    element("ul", "sentences", ...reasons.map((text) => element("li", "", text))),
  );
}
