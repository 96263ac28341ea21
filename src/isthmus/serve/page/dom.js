// Elements made from strings as text, never as markup: nothing that is shown can become code.

export function el(name, options = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(options)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function tokenLink(text, value = null) {
  return el("a", { href: `/?token=${encodeURIComponent(text)}` }, el("bdi", {}, text),
    value === null ? null : el("span", { class: "value" }, value));
}

// One line per row: a term, its bar, its value, and a note below where there is one.
export function bars(rows, most = Math.max(...rows.map((row) => row.value))) {
  return el("ul", { class: "bars" }, ...rows.map((row) => {
    const fill = el("i");
    fill.style.width = `${Math.max(1, (100 * row.value) / (most || 1))}%`;
    return el("li", {},
      tokenLink(row.text),
      el("span", { class: "bar", "aria-hidden": "true" }, fill),
      el("span", { class: "value" }, row.shown ?? row.value.toFixed(2)),
      row.note ? el("span", { class: "in" }, ...row.note) : null);
  }));
}

// A text with its spans marked; positions count code points, which is what Array.from takes apart. Behind what the
// encoder read stands a line.
export function marked(part, most, { read, ...options }) {
  const letters = Array.from(part.text);
  const pieces = [];
  let done = 0;
  for (const span of part.spans) {
    pieces.push(letters.slice(done, span.start).join(""));
    const strength = Math.min(4, Math.max(1, Math.ceil((4 * span.score) / (most || 1))));
    const title = `${span.terms.join(", ")}: ${span.score.toFixed(2)}`;
    pieces.push(el("mark", { class: `m${strength}`, title }, letters.slice(span.start, span.end).join("")));
    done = span.end;
  }
  pieces.push(letters.slice(done).join(""));
  if (read !== null && read !== undefined && read >= part.start && read < part.start + letters.length) {
    cutAt(pieces, read - part.start);
  }
  if (part.start > 0) pieces.unshift(el("span", { class: "cut" }, "… "));
  if (part.start + letters.length < part.length) pieces.push(el("span", { class: "cut" }, " …"));
  return el("p", { dir: "auto", ...options }, ...pieces.filter((piece) => piece !== ""));
}

function cutAt(pieces, at) {
  let done = 0;
  const place = pieces.findIndex((piece) => {
    done += Array.from(piece.textContent ?? piece).length;
    return done > at;
  });
  const last = pieces[place];
  // Spans end where reading ends, so that the place is in plain text.
  const letters = Array.from(last.textContent ?? last);
  const kept = letters.length - (done - at);
  const line = el("span", { class: "stopped", role: "note" }, "The encoder stopped reading here");
  const unread = el("span", { class: "unread" }, letters.slice(kept).join(""), ...pieces.slice(place + 1));
  pieces.splice(place, pieces.length, letters.slice(0, kept).join(""), line, unread);
}

const names = new Intl.DisplayNames(["en"], { type: "language" });

export function languageName(code) {
  try {
    return names.of(code) ?? code;
  } catch {
    return code;
  }
}

const accents = new Map();

// Colours come from the server, which gives a language the same one on every page.
export function keepAccents(languages) {
  for (const { code, colour } of languages) accents.set(code, `l${colour}`);
}

export function accent(code) {
  return accents.get(code) ?? "";
}

export function number(count) {
  return count.toLocaleString("en");
}

export function documents(count) {
  return `${number(count)} ${count === 1 ? "document" : "documents"}`;
}

// A name of what is shown, and what it is called.
export function languageTag(code) {
  return el("span", { class: `tag ${accent(code)}` }, languageName(code));
}
