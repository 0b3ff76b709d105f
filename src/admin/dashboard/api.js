// What the admin listener is asked. The token is kept for this tab and goes
// nowhere but into the Authorization field of requests to this listener.

const TOKEN = "pannier-admin-token";
const ANSWER_MS = 5000;
const COMMAND_MS = 75000;

class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

function storedToken() {
  try {
    return sessionStorage.getItem(TOKEN);
  } catch {
    return null;
  }
}

function keepToken(token) {
  try {
    if (token) sessionStorage.setItem(TOKEN, token);
    else sessionStorage.removeItem(TOKEN);
  } catch {
    // A browser that keeps nothing asks again.
  }
}

async function ask(path, method = "GET", token = storedToken()) {
  const headers = { Accept: "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  // A proxy that hangs is as good as one that is gone; a command may wait for the fleet.
  const signal = AbortSignal.timeout(method === "GET" ? ANSWER_MS : COMMAND_MS);
  const response = await fetch(path, { method, headers, credentials: "omit", cache: "no-store", signal });
  const kind = response.headers.get("content-type") || "";
  const document = kind.includes("json") ? await response.json() : null;
  if (!response.ok) {
    const detail = document && document.detail ? document.detail : `${response.status} ${response.statusText}`;
    throw new Refused(response.status, detail);
  }
  return document;
}

/** Asks; null where there is no such path or it needs what is not configured. */
async function askIfThere(path) {
  try {
    return await ask(path);
  } catch (error) {
    if (error instanceof Refused && error.status !== 401) return null;
    throw error;
  }
}
