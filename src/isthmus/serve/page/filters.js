// What to filter by: every field of the index, with its values and how many documents have them.

import { accent, el, languageName, number } from "./dom.js";

const BUTTONS = 8;

export function told(filter) {
  return Object.entries(filter).map(([field, value]) => `${field} ${valueName(field, value)}`).join(", ");
}

function valueName(field, value) {
  return field === "language" ? languageName(value) : value;
}

export function filters({ query, filter, info, go }) {
  const choose = (field, value) => {
    const { [field]: _, ...rest } = filter;
    go({ query, filter: value === null ? rest : { ...rest, [field]: value } });
  };
  if (info.values === null) return typed({ filter, choose });
  const fields = Object.entries(info.values)
    .filter(([field, { distinct }]) => distinct > 1 || field in filter)
    .sort(([one], [other]) => (other === "language") - (one === "language"));
  if (!fields.length) return null;
  const chosen = Object.keys(filter).length;
  const wide = matchMedia("(min-width: 60rem)").matches;
  return el("section", {}, el("details", { open: wide || chosen > 0 },
    el("summary", {}, chosen ? `Filter: ${told(filter)}` : "Filter"),
    ...fields.map(([field, values]) => one(field, values, filter[field] ?? null, choose))));
}

function one(field, { distinct, top }, chosen, choose) {
  const title = field === "language" ? "Language" : field;
  const rows = chosen === null || top.some(({ value }) => value === chosen) ? top : [{ value: chosen, documents: null }, ...top];
  const words = ({ value, documents }) =>
    `${valueName(field, value)}${documents === null ? "" : ` ${number(documents)}`}`;
  if (distinct <= BUTTONS) {
    const button = (value, text) => el("button", {
      type: "button", "aria-pressed": String(chosen === value), onclick: () => choose(field, value),
    }, field === "language" && value !== null ? el("i", { class: accent(value) }) : null, text);
    return el("div", { class: "field" }, el("h3", {}, el("bdi", {}, title)), el("div", { class: "choices" },
      button(null, "All"), ...rows.map((row) => button(row.value, words(row)))));
  }
  const select = el("select", { onchange: () => choose(field, select.value === "" ? null : rows[select.value].value) },
    el("option", { value: "" }, "All"),
    ...rows.map((row, place) => el("option", { value: String(place), selected: row.value === chosen }, words(row))));
  const rest = distinct - top.length;
  return el("label", { class: "field" }, el("h3", {}, el("bdi", {}, title)), select,
    rest > 0 ? el("p", { class: "note" }, `The most frequent ones; ${number(rest)} more are not listed.`) : null);
}

// Other engines do not tell their fields.
function typed({ filter, choose }) {
  const input = el("input", { id: "typed", placeholder: "language=ko", autocomplete: "off", autocapitalize: "off" });
  const form = el("form", {}, input, el("button", { type: "submit" }, "Filter"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const [field, ...value] = input.value.trim().split("=");
    if (field && value.length) choose(field, value.join("="));
  });
  return el("section", { class: "typed" }, el("label", { for: "typed" }, "Only documents with FIELD=VALUE"), form,
    el("div", { class: "choices" }, ...Object.keys(filter).map((field) => el("button", {
      type: "button", "aria-pressed": "true", onclick: () => choose(field, null),
    }, `${told({ [field]: filter[field] })} ×`))));
}
