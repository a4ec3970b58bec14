"use strict";
// Filters and sorts the examples. It only hides and reorders elements that are there; it never makes any from text.
const list = document.getElementById("examples");
const form = document.getElementById("filters");
const status = document.getElementById("shown");
const all = Array.from(list.querySelectorAll("article"));
all.forEach((article, at) => { article.dataset.order = at; });

function matches(article, wanted) {
  return (!wanted.kind || article.dataset.kind === wanted.kind)
    && (!wanted.decision || article.dataset.decision === wanted.decision)
    && (!wanted.genre || article.dataset.genre === wanted.genre)
    && (!wanted.words || article.textContent.includes(wanted.words));
}

function compare(a, b, by) {
  if (by === "order") return a.dataset.order - b.dataset.order;
  const down = by.startsWith("-");
  const name = down ? by.slice(1) : by;
  const x = a.dataset[name] === "" ? NaN : Number(a.dataset[name]);
  const y = b.dataset[name] === "" ? NaN : Number(b.dataset[name]);
  if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);  // without a value: last
  return (down ? y - x : x - y) || a.dataset.order - b.dataset.order;
}

function update() {
  const wanted = Object.fromEntries(new FormData(form));
  let count = 0;
  for (const article of all) {
    article.hidden = !matches(article, wanted);
    count += article.hidden ? 0 : 1;
  }
  for (const article of all.slice().sort((a, b) => compare(a, b, wanted.sort))) list.append(article);
  status.textContent = `${count} of ${all.length} shown`;
}

form.hidden = false;
form.addEventListener("input", update);
form.addEventListener("submit", (event) => event.preventDefault());
update();
