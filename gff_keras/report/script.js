// Without this script all is there but sorting and enlarging.
"use strict";

// === Tables sorted by a click on the head of a column ===

function key(row, column) {
  const text = row.cells[column].textContent.trim();
  const number = parseFloat(text.replace(/,/g, "").replace("−", "-"));
  return row.cells[column].classList.contains("number") ? number : text;
}

function compare(a, b, sign) {
  if (typeof a === "string") return sign * a.localeCompare(b);
  if (isNaN(a) || isNaN(b)) return isNaN(a) - isNaN(b); // what has no value comes last
  return sign * (a - b);
}

function sort(table, head) {
  const descending = head.ariaSort
    ? head.ariaSort === "ascending"
    : head.classList.contains("number"); // the largest first
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const keys = new Map(rows.map((row) => [row, key(row, head.cellIndex)]));
  rows.sort((a, b) => compare(keys.get(a), keys.get(b), descending ? -1 : 1));
  body.append(...rows);
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const head of table.tHead.querySelectorAll("th[scope=col]")) {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(table, head));
    head.append(button);
  }
}

// === Pictures that grow at a click ===

const dialog = document.querySelector("dialog");

function enlarge(image) {
  const shown = dialog.querySelector("img");
  shown.src = image.src;
  shown.alt = image.alt;
  dialog.querySelector("p").textContent = image.alt;
  dialog.showModal();
}

for (const image of document.querySelectorAll("img.zoom")) {
  image.tabIndex = 0;
  image.setAttribute("role", "button");
  image.addEventListener("click", () => enlarge(image));
  image.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    enlarge(image);
  });
}
dialog.addEventListener("click", () => dialog.close());
