"use strict";
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const root = document.documentElement;

// The theme follows the system until the reader chooses.
const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
const label = () => { $("theme").textContent = dark() ? "light theme" : "dark theme"; };
$("theme").hidden = false;
$("theme").addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; label(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
label();

// Charts are drawn again at the width there is; the page's CSS colours their text and grid. Without Vega the picture
// that is there stays, and so does everything else.
const draw = (id, spec) => window.vegaEmbed && window.vegaEmbed($(id), spec, { actions: false, renderer: "svg", ast: true, logLevel: 1 });
