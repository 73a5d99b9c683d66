/**
 * Bundle the development page: the view over a kernel in the page, to look at without Jupyter.
 *
 *   node dev/build.mjs            write it to `dev/dist/`; open `dev/index.html` then
 *   node dev/build.mjs FOLDER     write the whole page to another folder
 *   node dev/build.mjs --serve    serve it, bundled again at every load
 */
import { copyFileSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const [target] = process.argv.slice(2);
const folder = target && target !== "--serve" ? target : here;
const options = {
  absWorkingDir: dirname(here),
  entryPoints: [join(here, "main.ts")],
  outdir: join(folder, "dist"),
  bundle: true,
  format: "esm",
  target: "es2022",
  sourcemap: "inline",
  alias: JSON.parse(readFileSync(join(here, "..", "aliases.json"), "utf8")),
  loader: { ".css": "text", ".woff2": "dataurl" },
};
if (target === "--serve") {
  const context = await esbuild.context(options);
  const { hosts, port } = await context.serve({ servedir: here });
  console.warn(`http://${hosts[0]}:${port}/`);
} else {
  await esbuild.build(options);
  if (folder !== here) {
    for (const name of ["index.html", "theme.css"])
      copyFileSync(join(here, name), join(folder, name));
  }
}
