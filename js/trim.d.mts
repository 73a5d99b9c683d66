import type { Plugin } from "esbuild";

/** An esbuild plugin that leaves out of markdown-it what is not used here. */
export const trim: Plugin;
