/** Error messages for people. */

/** Return a message that says what happened and what to do. The API's own messages already do. */
export function explain(error: unknown): string {
  if (!(error instanceof Error)) return "Something went wrong. Reload the page.";
  if (error.name === "TransportError" || error.name === "TypeError") {
    return "The coordinator does not respond. Check that it is running and that this device is online, then try again.";
  }
  if (error.name === "TimeoutError")
    return "The coordinator took too long to respond. Try again in a moment.";
  const requestId =
    "requestId" in error && error.name === "InternalError" ? ` (request ${error.requestId})` : "";
  return `${inFormWords(error.message)}${requestId}`;
}

/** The form's words for the API's names of fields. */
const FORM_WORDS: [RegExp, string][] = [
  [/\bwith pricing\.max_cost/g, "with a maximum cost"],
  [/\bpricing\.max_cost/g, "the maximum cost"],
  [/\bmax_cost/g, "maximum cost"],
  [/\bwithout miner_id/g, "without naming a miner"],
  [/\bresources\.cpu/g, "the number of CPU cores"],
  [/\bresources\.memory/g, "the memory"],
  [/\bresources\.gpu/g, "the number of GPUs"],
];

/** Return a message of the coordinator in the words of the forms. */
export function inFormWords(message: string): string {
  return FORM_WORDS.reduce((text, [name, words]) => text.replaceAll(name, words), message);
}

/** Return the code of an API error, or undefined. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

/** Return the validation errors by the dotted path of their field; empty for other errors. */
export function fieldErrors(error: unknown): Record<string, string> {
  if (codeOf(error) !== "VALIDATION_ERROR") return {};
  const details = (error as { details?: { fields?: unknown } }).details;
  return details?.fields && typeof details.fields === "object"
    ? (details.fields as Record<string, string>)
    : {};
}
