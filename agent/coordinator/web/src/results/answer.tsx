/** What a language model wrote: paragraphs, and program text where it is fenced. */

/** The parts of an answer: text, and what stands between ``` fences. An open fence reaches to the end. */
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
          // biome-ignore lint/a11y/noNoninteractiveTabindex: it may be wider than the page, and is scrolled with the keyboard
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
