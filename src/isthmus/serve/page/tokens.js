// The token page: what a token was made of, what it goes into, what lies near it.

import { ask } from "./api.js";
import { bars, el } from "./dom.js";

const SHOWN = 12;
const FATES = {
  kept: "A token of the source vocabulary, kept as it was.",
  exact: "A copy of the source token with the same spelling.",
  fuzzy: "A copy of a source token that differs in case or word start.",
  symbol: "A copy of the same symbol of the source vocabulary.",
  special: "A copy of the special token with the same role.",
  byte: "A copy of the same byte.",
  bridged: "Mixed from the source tokens that mean nearly the same.",
  background: "No source token came near it: it shares one mean row with others, so it says nothing of its own.",
  sampled: "Drawn at random: it says nothing of its own.",
};

export async function showToken({ token, info, main, status, signal }) {
  const top_k = Math.min(SHOWN, info.limits.top_k);
  const query = new URLSearchParams({ token, top_k: String(top_k) });
  const found = await ask(`api/token?${query}`, { signal });
  main.replaceChildren(...found.rows.map((row) => card(row, info)));
  status.textContent = found.rows.length > 1 ? `${found.rows.length} tokens` : "";
}

function card(row, info) {
  const list = (title, rows, value) => rows.length
    ? el("section", {}, el("h3", {}, title), bars(rows.map((one) => ({ text: one.text, value: one[value] })), 1))
    : null;
  const raw = row.token === row.text ? "" : `stored as ${row.token}, `;
  return el("article", { class: "token" },
    el("h2", {}, el("bdi", {}, row.text), el("small", {}, row.id === null ? "source vocabulary" : `${raw}id ${row.id}`)),
    row.fate ? el("p", {}, FATES[row.fate] ?? row.fate) : null,
    !row.fate && !info.token_map ? el("p", {}, "The model's folder holds no token map, so it is not known what tokens are made of.") : null,
    row.written_as ? el("p", {}, "Written as ", el("bdi", {}, row.written_as), ": the two say the same.") : null,
    el("div", { class: "lists" },
      list("Made of", row.fate === "kept" ? [] : row.made_of, "weight"),
      list("Goes into", row.goes_into, "weight"),
      list("Neighbours by embedding", row.neighbours, "similarity")));
}
