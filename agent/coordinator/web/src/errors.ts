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
  return `${error.message}${requestId}`;
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
