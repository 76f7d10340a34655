// Reads an OpenAPI document on stdin and writes TypeScript types of its schemas to stdout.

import { text } from "node:stream/consumers";
import openapiTS, { astToString } from "openapi-typescript";
import ts from "typescript";

const document = JSON.parse(await text(process.stdin));
const jsonObject = ts.factory.createTypeReferenceNode("JsonObject");
const json = ts.factory.createTypeReferenceNode("Json");
const nodes = await openapiTS(document, {
  silent: true,
  // Free-form values are JSON. The generator's own type for them is `unknown`.
  transform: (schema) => {
    if (Object.keys(schema).length === 0) return json;
    const { type, properties, additionalProperties } = schema;
    return type === "object" && !properties && additionalProperties === true ? jsonObject : undefined;
  },
});
process.stdout.write(astToString(nodes.filter((node) => node.name?.text === "components")));
