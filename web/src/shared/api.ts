// Talks to the server: every write says that it comes from our own page, every failure says what to do.

export const root = document.body.dataset.root ?? "";

export class Failure extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly told: Record<string, unknown>,
  ) {
    super(message);
  }
}

export async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  const headers: Record<string, string> = { "X-Requested-With": "dam", Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let reply: Response;
  try {
    reply = await fetch(root + path, { method, headers, body: body === undefined ? null : JSON.stringify(body) });
  } catch {
    throw new Failure("The server can't be reached. Nothing is lost: try again in a moment.", 0, {});
  }
  const told = (await reply.json().catch(() => ({}))) as Record<string, unknown>;
  if (reply.ok) return told as T;
  throw new Failure(explained(told, reply.status), reply.status, told);
}

function explained(told: Record<string, unknown>, status: number): string {
  const words = [told.what, told.remedy].filter((part): part is string => typeof part === "string" && part !== "");
  if (words.length) return words.map((part) => part.replace(/\.$/, "")).join(". ") + ".";
  if (typeof told.detail === "string" && told.detail !== "Not Found") return told.detail;
  if (status === 404) return "This can't be done here yet.";
  return status === 422 ? "The server could not read that. Reload the page and try again." : `The server says: error ${status}.`;
}

export const get = <T>(path: string) => call<T>("GET", path);
export const post = <T>(path: string, body: unknown = {}) => call<T>("POST", path, body);

// --------------------------------------------------------------------------- where what is made of a version lies

interface Rendered {
  version_id: string;
  recipes: string[];
  deep_zoom: boolean;
}

export const media = (version_id: string, recipe: string) => `${root}/media/${version_id}/${recipe}`;
/** The address of a picture's tiles, where it is larger than its preview. */
export const tilesOf = (one: Rendered) => (one.deep_zoom ? `${root}/tiles/${one.version_id}.dzi` : undefined);
/** How many pages there are pictures of. */
export const pagesOf = (one: Rendered) => one.recipes.filter((recipe) => /^page-\d+$/.test(recipe)).length;
