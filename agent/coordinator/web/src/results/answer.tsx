/** A language model's answer: paragraphs and fenced code blocks. */

/** Split an answer into text and the code between ``` fences. An unclosed fence extends to the end. */
export function partsOf(text: string): { code: boolean; text: string }[] {
  return text
    .split(/^```[^\n]*\n?/m)
    .map((part, index) => ({ code: index % 2 === 1, text: part.replace(/^\n+|\s+$/g, "") }))
    .filter((part) => part.text !== "");
}

export function Answer({ text }: { text: string }) {
  return (
    <div class="answer">
      {partsOf(text).map((part) =>
        part.code ? (
          // biome-ignore lint/a11y/noNoninteractiveTabindex: it may be wider than the page, so the keyboard must be able to scroll it
          <pre key={part.text} tabIndex={0}>
            {part.text}
          </pre>
        ) : (
          <p key={part.text}>{part.text}</p>
        ),
      )}
    </div>
  );
}
