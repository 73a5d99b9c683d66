/**
 * Bundle the page's half into `nbchat/static/`, where it is committed.
 *
 *   node build.mjs            write the bundles
 *   node build.mjs --check    write nothing; fail when what is committed is not what would be written
 *   node build.mjs --watch    write again at every change, readable and with source maps
 *
 * The same sources and lock file give the same bytes on every machine: the check rests on it.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";
import { trim } from "./trim.mjs";

const root = dirname(fileURLToPath(import.meta.url));
const outdir = join(root, "..", "nbchat", "static");
const noticesFile = "THIRD_PARTY_LICENSES.txt";

/** Each becomes one self-contained module: the page loads them from memory, where no relative import works. */
const entryPoints = [
  ...["hub", "view", "extras", "highlight", "math"].map((name) => `src/entries/${name}.ts`),
  "src/i18n/zh-CN.ts",
];

const [mode = "--write"] = process.argv.slice(2);
if (!["--write", "--check", "--watch"].includes(mode)) {
  console.error(`unknown option ${mode}; see the top of build.mjs`);
  process.exit(2);
}
const watching = mode === "--watch";

/** Import a style sheet as its minified text. */
const cssAsText = {
  name: "css-as-text",
  setup(build) {
    build.onLoad({ filter: /\.css$/ }, async ({ path }) => {
      const { outputFiles } = await esbuild.build({
        entryPoints: [path],
        bundle: true,
        charset: "utf8",
        minify: !watching,
        target: "es2022",
        loader: { ".woff2": "dataurl" },
        write: false,
      });
      return { contents: outputFiles[0].text, loader: "text", watchFiles: [path] };
    });
  },
};

/** @type {import("esbuild").BuildOptions} */
const options = {
  absWorkingDir: root,
  entryPoints,
  outdir,
  entryNames: "[name]",
  bundle: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  minify: !watching,
  sourcemap: watching ? "inline" : false,
  // The notices of what is bundled are gathered in one file instead.
  legalComments: "none",
  alias: JSON.parse(readFileSync(join(root, "aliases.json"), "utf8")),
  plugins: [cssAsText, trim],
  metafile: true,
  logLevel: "info",
};

/** Return the licence texts of the packages whose code is in the bundles, sorted by name. */
function notices(metafile) {
  const packages = new Set();
  for (const output of Object.values(metafile.outputs)) {
    for (const [input, { bytesInOutput }] of Object.entries(output.inputs)) {
      const name = /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
      if (name && bytesInOutput > 0) packages.add(name[1]);
    }
  }
  const sections = [...packages].sort().map((name) => {
    const folder = join(root, "node_modules", name);
    const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file ? readFileSync(join(folder, file), "utf8").trim() : "";
    return `${name} ${version} (${license})\n\n${text}`.trim().replaceAll("\r\n", "\n");
  });
  const rule = `\n\n${"-".repeat(80)}\n\n`;
  const first = "The bundles in this folder contain code of these packages.";
  return `${[first, ...sections].join(rule)}\n`;
}

/** Return every file that belongs into the output folder: name -> bytes. */
async function build() {
  const { outputFiles, metafile } = await esbuild.build({ ...options, write: false });
  const files = new Map(
    outputFiles.map(({ path, contents }) => [relative(outdir, path), contents]),
  );
  files.set(noticesFile, Buffer.from(notices(metafile)));
  return files;
}

/** Names in the output folder that belong to the build, and not to someone who keeps other files there. */
function present() {
  return existsSync(outdir)
    ? readdirSync(outdir).filter((name) => name.endsWith(".js") || name === noticesFile)
    : [];
}

if (watching) {
  const context = await esbuild.context({ ...options, outdir });
  await context.watch();
} else {
  // esbuild has said what is wrong by then.
  const files = await build().catch(() => process.exit(1));
  const superfluous = present().filter((name) => !files.has(name));
  if (mode === "--check") {
    const stale = [...files].filter(([name, contents]) => {
      const path = join(outdir, name);
      return !existsSync(path) || !readFileSync(path).equals(Buffer.from(contents));
    });
    for (const [name] of stale) console.error(`nbchat/static/${name} is stale`);
    for (const name of superfluous) console.error(`nbchat/static/${name} is built from nothing`);
    if (stale.length + superfluous.length > 0) {
      console.error("Run `make build` and commit what it writes.");
      process.exit(1);
    }
  } else {
    mkdirSync(outdir, { recursive: true });
    for (const name of superfluous) rmSync(join(outdir, name));
    for (const [name, contents] of files) writeFileSync(join(outdir, name), contents);
  }
}
