/** Where model text may lead: http, https and mail for links; nothing that loads by itself but small bitmaps. */

/** Longest address a link may have; longer ones carry data rather than a place. */
export const MAX_URL_CHARS = 2048;
/** Longest `data:` image, in characters of its URL: 1 MB of bytes in base64. */
export const MAX_DATA_IMAGE_CHARS = 1_400_000;

const DATA_IMAGE = /^data:image\/(?:png|jpeg|gif|webp)(?:;base64)?,[\w+/=%.~-]*$/i;

/** Return the address a link leads to, in the form the browser will use; null when it may not lead there. */
export function linkTarget(href: string): URL | null {
  if (href.length > MAX_URL_CHARS || !/^(?:https?:\/\/|mailto:)/i.test(href)) return null;
  const url = parse(href);
  if (url === null || url.href.length > MAX_URL_CHARS) return null;
  return url.protocol === "mailto:" || url.hostname !== "" ? url : null;
}

/** Return the address of an image that may be shown at once, since showing it asks nobody. */
export function inlineImage(src: string): string | null {
  return src.length <= MAX_DATA_IMAGE_CHARS && DATA_IMAGE.test(src) ? src : null;
}

/** Return the address of an image that may be loaded when the reader asks for it. */
export function remoteImage(src: string): URL | null {
  const url = linkTarget(src);
  return url?.protocol === "mailto:" ? null : url;
}

// Country codes have two letters. The list holds the other endings that people take for an address.
const HOST =
  /(?:[\p{L}\p{N}](?:[\p{L}\p{N}\p{M}-]{0,61}[\p{L}\p{N}\p{M}])?\.)+(?:[\p{L}\p{M}]{2}|xn--[a-z\d-]{2,59}|com|org|net|edu|gov|mil|int|info|biz|name|pro|dev|app|xyz|top|site|online|shop|store|club|tech|cloud|page|link|live|news|blog|wiki|zip|mov|bank|email|google|microsoft|apple|amazon|中国|公司|网络|рф|(?:(?![a-z])\p{L}){3,})(?![\p{L}\p{N}-])/giu;
/** Endings that are a country's, and yet mostly a file's. */
const FILE = /^[^.]+\.(?:py|md|rs|sh|cc|pl|so|ps|mk|ml|ts|hs|vi|gz)$/i;
/** More text than this is a sentence, not an address. */
const MAX_LABEL_CHARS = 300;

/**
 * Return the host to show after a link whose text looks like another address, else null.
 *
 * The host is shown as it travels (`xn--…`): letters of several alphabets look the same.
 */
export function hostToShow(text: string, target: URL): string | null {
  const host = target.protocol === "mailto:" ? target.pathname.split("@").at(-1) : target.hostname;
  if (!host) return null;
  if (target.username !== "" || target.password !== "") return host;
  const label = text
    .slice(0, MAX_LABEL_CHARS)
    .normalize("NFKC")
    .replace(/[\u200b-\u200f\u2060\ufeff]/g, "");
  const named = Array.from(label.matchAll(HOST), ([name]) => name);
  if (/xn--/i.test(host) && (named.length > 0 || /^\s*https?:/i.test(label))) return host;
  const others = named.filter((name) => !FILE.test(name) && bareHost(name) !== withoutWww(host));
  return others.length > 0 ? host : null;
}

function bareHost(name: string): string {
  return withoutWww(parse(`http://${name}`)?.hostname ?? name.toLowerCase());
}

function withoutWww(host: string): string {
  return host.toLowerCase().replace(/^www\./, "");
}

function parse(url: string): URL | null {
  try {
    return new URL(url);
  } catch {
    return null;
  }
}
