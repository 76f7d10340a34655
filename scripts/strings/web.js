// Prints the strings of the dashboard's sources as JSON, for scripts/strings/strings.py: [[file, line, text], ...].
// Texts between tags, and strings and templates with a space or a capital, except names of classes and modules.
import { readFileSync } from "node:fs";
import { parseAst } from "rolldown/parseAst";

const CODE = /^(class|className|style|d|viewBox|href|type)$/;
const found = [];
for (const file of process.argv.slice(2)) {
  const source = readFileSync(file, "utf8");
  visit(parseAst(source, { lang: "tsx" }), file, source);
}
process.stdout.write(JSON.stringify(found));

function visit(node, file, source) {
  if (Array.isArray(node)) for (const one of node) visit(one, file, source);
  if (typeof node?.type !== "string") return;
  if (node.type === "ImportDeclaration" || node.type.startsWith("TS")) return;
  if (node.type === "JSXAttribute" && CODE.test(node.name.name)) return;
  const text = textOf(node, source);
  const isText = node.type === "JSXText" || /\s|^[A-Z]/.test(text?.trim() ?? "");
  if (text !== undefined && isText && /[A-Za-z]{2}/.test(text)) {
    found.push([file, source.slice(0, node.start).split("\n").length, text]);
  }
  for (const [name, value] of Object.entries(node)) {
    if (name !== "type" && value !== null && typeof value === "object") visit(value, file, source);
  }
}

function textOf(node, source) {
  if (node.type === "JSXText") return node.value;
  if (node.type === "TemplateLiteral") return source.slice(node.start + 1, node.end - 1);
  return node.type === "Literal" && typeof node.value === "string" ? node.value : undefined;
}
