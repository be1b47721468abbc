"use strict";
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const root = document.documentElement;

// The theme follows the system until the reader chooses.
const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
const themed = () => { $("theme").textContent = dark() ? "light theme" : "dark theme"; };
$("theme").hidden = false;
$("theme").addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; themed(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", themed);
themed();

const grouped = (n) => String(n).replace("-", "−").replace(/\B(?=(\d{3})+$)/g, ",");
