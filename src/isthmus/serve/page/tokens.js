// The token page: what a token was made of, what it goes into, what lies near it, and where the index has it.

import { ask } from "./api.js";
import { bars, documents, el, languageTag, number } from "./dom.js";

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
    row.written === false ? el("p", {}, "Silenced: the encoder reads it, and never writes it into a vector.") : null,
    row.written === true ? el("p", {}, "Written: vectors have a dimension for it.") : null,
    row.use ? use(row.use, info) : null,
    el("div", { class: "lists" },
      list("Made of", row.fate === "kept" ? [] : row.made_of, "weight"),
      list("Goes into", row.goes_into, "weight"),
      list("Neighbours by embedding", row.neighbours, "similarity")));
}

function use({ documents: own, histogram, top }, info) {
  const share = info.documents ? (100 * own) / info.documents : 0;
  return el("section", { class: "use" },
    el("h3", {}, `In ${number(own)} of ${documents(info.documents)} (${share.toFixed(1)}%)`),
    own ? weights(histogram) : null,
    ...top.map((one) => el("div", { class: "used" },
      el("p", { class: "about" }, one.language ? languageTag(one.language) : null, el("bdi", {}, one.id),
        el("span", { class: "value" }, one.weight.toFixed(2))),
      el("p", { class: "text", dir: "auto", lang: one.language }, one.text))));
}

function weights({ edges, counts }) {
  const most = Math.max(...counts);
  const columns = counts.map((count, place) => {
    const words = `Weight ${edges[place].toFixed(2)} to ${edges[place + 1].toFixed(2)}: ${documents(count)}`;
    const fill = el("i");
    fill.style.height = `${count ? Math.max(2, (100 * count) / most) : 0}%`;
    return el("span", { title: words }, fill);
  });
  const said = counts.map((count, place) => `${edges[place].toFixed(2)}: ${count}`).join(", ");
  return el("figure", { class: "weights" },
    el("div", { class: "columns-of", role: "img", "aria-label": `Documents by weight. ${said}` }, ...columns),
    el("figcaption", {}, el("span", {}, "0"), el("span", {}, "weight in the documents that have it"),
      el("span", {}, edges.at(-1).toFixed(2))));
}
