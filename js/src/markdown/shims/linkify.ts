/** Stands in for `linkify-it` in the bundle: literal links are found by `autolink.ts`, by the rules of GFM. */
export class LinkifyIt {}
