/**
 * Stands in for `mdurl` in the bundle.
 *
 * What a link may point to is decided by `urls.ts` with the browser's own URL parser; markdown-it's part is only to
 * escape what CommonMark says is escaped, which needs no parsing into host and path.
 */
interface Parts {
  pathname: string;
}

export function parse(url: string): Parts {
  return { pathname: url };
}

export function format(parts: Parts): string {
  return parts.pathname;
}

/** Percent-encode what may not stand in a URL, and leave escapes that are there as they are. */
export function encode(url: string): string {
  return url.replace(/%(?![\da-f]{2})|[^\w!#$%&'()*+,./:;=?@~-]+/gi, (text) =>
    encodeURIComponent(text.replace(/\p{Surrogate}/gu, "\ufffd")),
  );
}

/** Show a URL as it was written. */
export function decode(url: string): string {
  return url;
}
