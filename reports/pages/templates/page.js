// Any pair of counters; the one that is shown is in the address.
const address = (left, right) => `${encodeURIComponent(left)}-${encodeURIComponent(right)}`;
const names = pairs ? pairs.sides.map((side) => said(side.name)) : [];
function show() {
  const pair = reconcile(pairs.sides[$("first").value], pairs.sides[$("second").value]);
  drawPair(pair);
  drawWaterfall(pair);
}
function choose(changed, other, before) {
  if (changed.value === other.value) other.value = before;
  chosen = [$("first").value, $("second").value];
  show();
  try {
    history.replaceState(null, "", `#${address(...chosen.map((i) => names[i]))}`);
  } catch { /* in a frame without an address of its own */ }
}
function fromAddress() {
  const asked = location.hash.slice(1);
  for (const [i, left] of names.entries()) for (const [j, right] of names.entries()) {
    if (i === j || ![address(left, right), `${left}-${right}`].includes(asked)) continue;
    chosen = [String(i), String(j)];
    [$("first").value, $("second").value] = chosen;
    show();
    $("lines").scrollIntoView();
    return;
  }
}
let chosen;
if (pairs) {
  const [left, right] = [$("first"), $("second")];
  chosen = [left.value, right.value];
  left.addEventListener("change", () => choose(left, right, chosen[0]));
  right.addEventListener("change", () => choose(right, left, chosen[1]));
  $("swap").addEventListener("click", () => {
    [left.value, right.value] = [right.value, left.value];
    choose(left, right, chosen[0]);
  });
  $("pick").hidden = false;
  $("pick").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", fromAddress);
  fromAddress();
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
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(from.textContent);
    button.textContent = "copied";
  } catch {
    getSelection().selectAllChildren(from);
    button.textContent = document.execCommand("copy") ? "copied" : "selected: press Ctrl+C";
  }
  setTimeout(() => { button.textContent = before; }, 1600);
}
document.querySelectorAll(".copy").forEach((box) => {
  const [from, button] = box.children;
  button.hidden = false;
  button.addEventListener("click", () => copy(button, from));
});
