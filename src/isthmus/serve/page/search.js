// Searching: hits with what they matched, what the query was read as, and what to filter by.

import { ask } from "./api.js";
import { bars, el, languageTag, marked, tokenLink } from "./dom.js";
import { filters, told } from "./filters.js";

const PAGE = 10;
const TERMS_SHOWN = 6;
// Meanings may stand behind word pieces that weigh more.
const TERMS_EXPANDED = 60;
const MEANINGS_SHOWN = 16;
const PIECES_SHOWN = 8;
const SHORT = 420;

export async function showSearch({ query, filter, count = PAGE, info, main, status, go, signal }) {
  const started = performance.now();
  const most = info.limits.top_k;
  const top_k = Math.min(count, most);
  const body = { query, top_k, matches: true, expansion: Math.min(TERMS_EXPANDED, most), characters: SHORT };
  if (Object.keys(filter).length) body.filter = filter;
  const found = await ask("api/search", { body, signal });
  const milliseconds = performance.now() - started;

  const hits = el("ol", { class: "hits", "aria-label": "Hits" });
  hits.append(...found.hits.map((hit, place) => hitOf(hit, place, query, hits)));
  const column = el("div", {}, hits);
  if (found.hits.length === top_k && top_k < most) {
    const more = () => go({ query, filter, count: count + PAGE }, { replace: true });
    column.append(el("button", { class: "more", type: "button", onclick: more }, "Show more"));
  }
  if (!found.hits.length) {
    hits.replaceWith(el("p", { class: "start" }, "No document shares a token with the query",
      Object.keys(filter).length ? `, of those with ${told(filter)}.` : "."));
  }
  if (found.known === false) {
    column.prepend(el("p", { class: "warning" }, "The model knows no character of this query: it read nothing of it, and " +
      "what stands here was found by chance."));
  }
  main.replaceChildren(el("div", { class: "columns" }, column, el("aside", { "aria-label": "About the query" },
    filters({ query, filter, info, go }), expansion(found.expansion))));
  const { timing } = found;
  status.textContent = `${found.hits.length} ${found.hits.length === 1 ? "hit" : "hits"} in ` +
    `${Math.round(milliseconds)} ms (encoding ${Math.round(timing.encode_ms)}, searching ${Math.round(timing.search_ms)})`;
}

function hitOf(hit, place, query, hits) {
  const sign = el("span", { class: "sign", "aria-hidden": "true" }, "+");
  const head = el("button", { class: "head", type: "button", "aria-expanded": "false" },
    el("span", { class: "rank" }, String(place + 1)),
    hit.language ? languageTag(hit.language) : null,
    el("bdi", {}, hit.id),
    el("span", { class: "score" }, hit.score.toFixed(2)),
    sign);
  const item = el("li", { class: "hit" }, head, ...texts(hit), matchedLine(hit.matches));
  const state = { item, head, sign, hit, query, why: null, short: null };
  head.addEventListener("click", () => toggle(state));
  return item;
}

function texts(hit) {
  const most = Math.max(0, ...[...hit.title.spans, ...hit.text.spans].map((span) => span.score));
  const options = { lang: hit.language };
  const { read } = hit;
  return [
    hit.title.text ? marked(hit.title, most, { ...options, class: "title" }) : null,
    hit.text.text ? marked(hit.text, most, { ...options, class: "text", read }) : null,
  ].filter((text) => text !== null);
}

function matchedLine(matches) {
  const shown = matches.slice(0, TERMS_SHOWN).map((match) => tokenLink(match.text, match.score.toFixed(2)));
  const rest = matches.length - shown.length;
  return el("p", { class: "terms" }, ...shown, rest > 0 ? el("span", {}, `and ${rest} more`) : null);
}

async function toggle(state) {
  const open = state.head.getAttribute("aria-expanded") === "true";
  state.head.setAttribute("aria-expanded", String(!open));
  state.sign.textContent = open ? "+" : "−";
  if (open) {
    state.item.replaceChildren(...state.short);
    state.head.focus();
    return;
  }
  state.short = [...state.item.childNodes];
  try {
    state.why ??= why(await ask("api/explain", { body: { query: state.query, id: state.hit.id } }));
  } catch (error) {
    state.why = null;
    state.item.append(el("p", { class: "status bad" }, error.message));
    return;
  }
  // It may have been closed while the answer was on its way.
  if (state.head.getAttribute("aria-expanded") !== "true") return;
  state.item.replaceChildren(state.head, ...state.why);
  state.head.focus();
}

function why(found) {
  const spans = [["title", found.title], ["text", found.text]].flatMap(([, part]) => {
    const letters = Array.from(part.text);
    return part.spans.map((span) => ({ ...span, word: letters.slice(span.start, span.end).join("") }));
  });
  const rows = found.matches.map((match) => {
    const words = [...new Set(spans.filter((span) => span.terms.includes(match.text)).map((span) => span.word))]
      .filter((word) => word.toLowerCase() !== match.text.replace(/^##/, "").toLowerCase());
    const note = words.slice(0, 4).flatMap((word, place) => [place ? ", " : "in the text as ", el("bdi", {}, word)]);
    const shown = `${match.query_weight.toFixed(2)} × ${match.document_weight.toFixed(2)} = ${match.score.toFixed(2)}`;
    return { text: match.text, value: match.score, shown, note: words.length ? note : null };
  });
  const metadata = Object.entries(found.metadata).filter(([key]) => key !== "language");
  // Above the text, which may be long.
  return [el("div", { class: "why" },
    el("h3", {}, `Why: ${rows.length} shared ${rows.length === 1 ? "token" : "tokens"}, ${found.score.toFixed(2)} in all`),
    el("p", { class: "note" }, "Weight in the query × weight in the document. Marks show where these tokens, or words made of them, stand."),
    rows.length ? bars(rows) : null,
    metadata.length ? el("p", { class: "note" }, metadata.map(([key, value]) =>
      `${key}: ${typeof value === "string" ? value : JSON.stringify(value)}`).join("; ")) : null,
    found.read === null ? null : el("p", { class: "note" }, "The encoder reads the start of this text alone: a line marks where it stopped.")),
  ...texts(found)];
}

function expansion(terms) {
  const rows = terms.map((term) => ({ text: term.text, value: term.weight }));
  const most = Math.max(...rows.map((row) => row.value));
  const piece = (row) => row.text.startsWith("##");
  const groups = [
    ["Meanings", rows.filter((row) => !piece(row)).slice(0, MEANINGS_SHOWN)],
    ["Word pieces", rows.filter(piece).slice(0, PIECES_SHOWN)],
  ].filter(([, own]) => own.length);
  const wide = matchMedia("(min-width: 60rem)").matches;
  return el("section", { class: "read-as" }, el("details", { open: wide },
    el("summary", {}, "What the query was read as"),
    el("p", { class: "note" }, "The heaviest tokens of its vector. Each leads to its page."),
    ...groups.flatMap(([title, own]) => [el("h3", {}, title), bars(own, most)]),
    rows.length ? null : el("p", { class: "note" }, "nothing")));
}
