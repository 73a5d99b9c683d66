/** Stands in for `punycode.js` in the bundle: `URL` knows the true name of a host (`urls.ts`). */
export default {};
