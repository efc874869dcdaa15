// Bundles every page's entry (src/*.ts, src/*.tsx) into the folder that the site serves; what several
// entries share, or load later (3D), goes into chunks of its own.
import { readdirSync, rmSync } from "node:fs";
import { build } from "esbuild";

const out = "../plugins/dam_web/static/app";
const entries = readdirSync("src").filter((name) => /\.tsx?$/.test(name) && !name.endsWith(".d.ts"));

rmSync(out, { recursive: true, force: true });
await build({
  entryPoints: entries.map((name) => `src/${name}`),
  outdir: out,
  bundle: true,
  splitting: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  minify: true,
  legalComments: "none",
  logLevel: "warning",
  entryNames: "[name]",
  chunkNames: "chunk-[hash]",
});
