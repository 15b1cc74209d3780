"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const number = head.classList.contains("n");
      const before = head.getAttribute("aria-sort");
      const up = before ? before === "descending" : !("down" in head.dataset);
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => row.cells[column].dataset.v ?? "";
      for (const body of table.tBodies) {  // unranked rows stay below the ranked ones
        const rows = [...body.rows].filter((row) => !row.classList.contains("block-title"));
        rows.sort((a, b) => {
          const [x, y] = [key(a), key(b)];
          if (x === "" || y === "") return (x === "") - (y === "");  // missing values come last in both directions
          const order = number ? Number(x) - Number(y) : x.localeCompare(y, undefined, { numeric: true });
          return up ? order : -order;
        });
        body.append(...rows);
      }
    });
  });
}
