"use strict";
const [grid, state, text, order, count] = ["rows", "state", "text", "order", "count"].map((id) => document.getElementById(id));
const cards = [...grid.children];
const words = cards.map((card) => card.textContent.toLowerCase());
const filter = () => {
  const wanted = text.value.toLowerCase();
  let shown = 0;
  cards.forEach((card, k) => {
    card.hidden = !((!state.value || card.dataset.state === state.value) && words[k].includes(wanted));
    shown += !card.hidden;
  });
  count.textContent = `${shown} of ${cards.length}`;
};
const sort = () => {
  const key = order.value, sign = ["seconds", "memory"].includes(key) ? -1 : 1;
  const compare = (a, b) => {
    const [x, y] = [a.dataset[key], b.dataset[key]];
    if (key === "name") return x.localeCompare(y);
    return (x === "") - (y === "") || sign * (x - y); // what was not measured comes last
  };
  grid.append(...(key ? [...cards].sort(compare) : cards));
};
state.addEventListener("change", filter);
text.addEventListener("input", filter);
order.addEventListener("change", sort);
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
filter();
