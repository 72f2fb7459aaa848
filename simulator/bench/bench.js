"use strict";
// Sorts and filters the tables of the report; without it they are all there, in the suite's order.

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const before = [...body.rows];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => {
      const downFirst = head.dataset.good === "high";
      const turns = downFirst ? ["descending", "ascending"] : ["ascending", "descending"];
      const turn = turns[turns.indexOf(head.getAttribute("aria-sort")) + 1];
      heads.forEach(other => other.removeAttribute("aria-sort"));
      if (turn) head.setAttribute("aria-sort", turn);
      body.append(...(turn ? sorted(before, column, turn === "descending" ? -1 : 1) : before));
    });
    head.append(button);
  });
}

function sorted(rows, column, sign) {
  const key = row => {
    const cell = row.cells[column];
    return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent.trim();
  };
  const compare = (one, other) => {
    if (typeof one !== typeof other) return typeof one === "number" ? -1 : 1;  // what has no number comes last
    return sign * (typeof one === "number" ? one - other : one.localeCompare(other, "en", {numeric: true}));
  };
  return [...rows].sort((one, other) => compare(key(one), key(other)));
}

const form = document.querySelector(".filters");
if (form) {
  const status = form.querySelector("[role=status]");
  const rows = [...document.querySelectorAll("table.main tbody tr")];
  const filter = () => {
    const wish = Object.fromEntries(new FormData(form));
    const word = wish.strategy.trim().toLowerCase();
    for (const row of rows) {
      const {strategy, schedule, kinds} = row.dataset;
      row.hidden = !strategy.toLowerCase().includes(word)
        || Boolean(wish.schedule) && schedule !== wish.schedule
        || Boolean(wish.kind) && kinds.split(" ").includes(wish.kind);
    }
    const shown = rows.filter(row => !row.hidden).length;
    status.textContent = shown === rows.length ? `${shown} rows` : `${shown} of ${rows.length} rows`;
  };
  form.hidden = false;
  form.addEventListener("input", filter);
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  filter();
}
