"use strict";
// Sorts tables by a column; without this script they stand in their own order.
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const isDown = head.getAttribute("aria-sort") !== "descending";
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", isDown ? "descending" : "ascending");
      const keyed = [...body.rows].map((row) => {
        const cell = row.cells[column];
        const isNumber = "sort" in cell.dataset;
        return { row, isNumber, key: isNumber ? Number(cell.dataset.sort) : cell.textContent };
      });
      keyed.sort((a, b) => {
        // Figures come before what is unknown, whichever way they are sorted.
        if (a.isNumber !== b.isNumber) return a.isNumber ? -1 : 1;
        const order = a.isNumber ? a.key - b.key : b.key.localeCompare(a.key);
        return isDown ? -order : order;
      });
      body.append(...keyed.map((one) => one.row));
    });
  });
}
