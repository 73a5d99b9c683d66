/**
 * Literal links, by the rules of GitHub's Markdown: `https://…`, `http://…`, `www.…` and mail addresses in the text.
 *
 * Unlike on GitHub, brackets and Chinese or Japanese punctuation end an address.
 */
import type { StateInline, Token } from "markdown-it";

/** Text without the characters that inline rules begin with, in pieces, so that each character is read once. */
const PLAIN = /[^\n!$&*<[\\\]_`~]{1,2048}/y;
const BEGIN = /https?:\/\/|www\./i;
const ADDRESS = /(?:https?:\/\/|www\.)[^\s<>[\]`\u3000-\u303f\uff00-\uffef]{1,2048}/iy;
const HOST = /^(?:https?:\/\/)?([\p{L}\p{N}_-]+(?:\.[\p{L}\p{N}_-]+)*)/iu;
const TRAILING = /(?:[?!.,:*_~'"]|&[a-z\d]{1,32};)$/i;

/** Inline rule: text up to where another rule may begin. Stands in for markdown-it's own. */
export function text(state: StateInline, silent: boolean): boolean {
  PLAIN.lastIndex = state.pos;
  if (!PLAIN.test(state.src)) return false;
  let end = Math.min(PLAIN.lastIndex, state.posMax);
  // After the first character: the rule for literal links has tried there.
  const link = BEGIN.exec(state.src.slice(state.pos + 1, end));
  if (link) end = state.pos + 1 + link.index;
  if (!silent) state.pending += state.src.slice(state.pos, end);
  state.pos = end;
  return true;
}

/** Inline rule: an address with its scheme, or one that begins with `www.`. */
export function autolink(state: StateInline, silent: boolean): boolean {
  if (state.linkLevel > 0) return false;
  const first = state.src[state.pos];
  if (first !== "h" && first !== "w" && first !== "H" && first !== "W") return false;
  const before = state.src[state.pos - 1] ?? " ";
  const isWww = first === "w" || first === "W";
  if (isWww ? !/[\s*_~(\u3000-\uffef]/.test(before) : /[a-z\d]/i.test(before)) return false;
  ADDRESS.lastIndex = state.pos;
  const found = ADDRESS.exec(state.src)?.[0];
  if (found === undefined) return false;
  const address = withoutTrailing(found.slice(0, state.posMax - state.pos));
  const host = HOST.exec(address)?.[1];
  if (host === undefined || !isHost(host, isWww)) return false;
  if (!silent) pushLink(state, isWww ? `http://${address}` : address, address);
  state.pos += address.length;
  return true;
}

function isHost(host: string, needsDot: boolean): boolean {
  const labels = host.split(".");
  if (needsDot && labels.length < 2) return false;
  return !labels.slice(-2).some((label) => label.includes("_"));
}

/** Return an address without the punctuation of the sentence around it. */
function withoutTrailing(address: string): string {
  let unopened = 0;
  for (const character of address) {
    if (character === ")") unopened++;
    else if (character === "(") unopened--;
  }
  let result = address;
  for (;;) {
    const trailing = TRAILING.exec(result.slice(-40))?.[0];
    if (trailing !== undefined) result = result.slice(0, -trailing.length);
    else if (unopened-- > 0 && result.endsWith(")")) result = result.slice(0, -1);
    else return result;
  }
}

function pushLink(state: StateInline, href: string, label: string): void {
  state.push("link_open", "a", 1).attrs = [["href", href]];
  state.push("text", "", 0).content = label;
  state.push("link_close", "a", -1);
}

const LOCAL_PART = /[a-z\d.+_-]+$/i;
const DOMAIN = /^[a-z\d](?:[a-z\d_-]*[a-z\d])?(?:\.[a-z\d_-]+)*\.[a-z\d_-]*[a-z\d]/i;

/** Inline rule of the second pass: mail addresses in the remaining text. */
export function emails(state: StateInline): void {
  if (!state.src.includes("@")) return;
  let links = 0;
  const result: Token[] = [];
  for (const token of state.tokens) {
    if (token.type === "link_open") links++;
    if (token.type === "link_close") links--;
    if (token.type === "text" && links === 0) splitAtEmails(state, token, result);
    else result.push(token);
  }
  state.tokens.length = 0;
  for (const token of result) state.tokens.push(token);
}

/** Add a text to `result`, cut into its addresses and what is between them. */
function splitAtEmails(state: StateInline, token: Token, result: Token[]): void {
  const { content } = token;
  const push = (type: string, nesting: -1 | 0 | 1, text: string): Token => {
    const created = new state.Token(type, type === "text" ? "" : "a", nesting);
    created.content = text;
    created.level = token.level;
    result.push(created);
    return created;
  };
  let done = 0;
  for (let at = content.indexOf("@"); at >= 0; at = content.indexOf("@", at + 1)) {
    const local = LOCAL_PART.exec(content.slice(Math.max(done, at - 64), at))?.[0];
    const domain = DOMAIN.exec(content.slice(at + 1, at + 256))?.[0];
    if (local === undefined || domain === undefined) continue;
    const address = `${local}@${domain}`;
    push("text", 0, content.slice(done, at - local.length));
    push("link_open", 1, "").attrs = [["href", `mailto:${address}`]];
    push("text", 0, address);
    push("link_close", -1, "");
    done = at + 1 + domain.length;
  }
  if (done === 0) result.push(token);
  else push("text", 0, content.slice(done));
}
