// The API, with the key of this tab where the server asks for one.

const KEY = "isthmus-api-key";

export class Problem extends Error {
  constructor(status, message, after = 0) {
    super(message);
    this.status = status;
    // Seconds after which to ask again, where the server says so.
    this.after = after;
  }

  // Whether the same request may be answered a little later.
  get passing() {
    return [0, 502, 503, 504].includes(this.status);
  }
}

export function keepKey(key) {
  sessionStorage.setItem(KEY, key);
}

export async function ask(path, { body, signal } = {}) {
  const headers = {};
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  const options = { method: body ? "POST" : "GET", headers, signal, body: body ? JSON.stringify(body) : undefined };
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The server does not answer.");
  }
  const content = await response.json().catch(() => ({}));
  if (!response.ok) {
    const after = Number(response.headers.get("Retry-After")) || 0;
    throw new Problem(response.status, content.error ?? `The server answered ${response.status}.`, after);
  }
  return content;
}
