/** Bundle the development page into `dev/dist/`; open `dev/index.html` then (`--serve`: served, rebuilt at each load). */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const options = {
  absWorkingDir: here,
  entryPoints: [join(here, "main.ts")],
  outdir: join(here, "dist"),
  bundle: true,
  format: "esm",
  target: "es2022",
  sourcemap: "inline",
  loader: { ".css": "text", ".woff2": "dataurl" },
};
if (process.argv.includes("--serve")) {
  const context = await esbuild.context(options);
  const { hosts, port } = await context.serve({ servedir: here });
  console.warn(`http://${hosts[0]}:${port}/`);
} else {
  await esbuild.build(options);
}
