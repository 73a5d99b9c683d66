/** A style sheet is imported as its minified text, and goes into a shadow root or a `<style>`. */
declare module "*.css" {
  const text: string;
  export default text;
}
