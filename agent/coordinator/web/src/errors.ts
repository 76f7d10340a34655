/** What went wrong, in words that say what to do. */

/** A sentence for people. The API's messages are such sentences already. */
export function explain(error: unknown): string {
  if (!(error instanceof Error)) return "Something went wrong. Load the page again.";
  if (error.name === "TransportError" || error.name === "TypeError") {
    return "The coordinator does not answer. Check that it runs and that this device has a network, then try again.";
  }
  if (error.name === "TimeoutError")
    return "The coordinator takes too long to answer. Try again in a moment.";
  const requestId =
    "requestId" in error && error.name === "InternalError" ? ` (request ${error.requestId})` : "";
  return `${error.message}${requestId}`;
}

/** The code of an error that the API answered, or undefined. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

/** What is wrong with which field, by the dotted path of the field; empty for other errors. */
export function fieldErrors(error: unknown): Record<string, string> {
  if (codeOf(error) !== "VALIDATION_ERROR") return {};
  const details = (error as { details?: { fields?: unknown } }).details;
  return details?.fields && typeof details.fields === "object"
    ? (details.fields as Record<string, string>)
    : {};
}
