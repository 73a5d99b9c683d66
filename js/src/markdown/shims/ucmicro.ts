/** Stands in for `uc.micro` in the bundle: regular expressions know the Unicode categories. */
export const P = /\p{P}/u;
export const S = /\p{S}/u;
