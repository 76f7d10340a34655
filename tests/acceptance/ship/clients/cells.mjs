// A client's cells of the matrix, as cells.py has them for Python.
export const [url, apiKey, model, files] = process.argv.slice(2);
export const question = "Name the capital of France.";
export const messages = [{ role: "user", content: question }];
export const country = { type: "object", properties: { country: { type: "string" } }, required: ["country"] };

export async function run(cells) {
  const outcomes = {};
  for (const [name, cell] of Object.entries(cells)) {
    try {
      await cell();
      outcomes[name] = null;
    } catch (error) {
      outcomes[name] = `${error.name}: ${error.message} ${error.responseBody ?? ""}`;
    }
  }
  console.log(JSON.stringify(outcomes));
}
