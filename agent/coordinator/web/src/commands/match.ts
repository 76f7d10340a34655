/** Fuzzy matching for the command menu. */

/** Points for a query that a text contains as it is, from the beginning of a word. */
const WHOLE = 100;
/** Points for a letter at the beginning of a word, and for one directly after the letter before. */
const AT_WORD = 8;
const IN_ROW = 5;

/**
 * Return how well a text matches a query, all of whose letters it must contain in order; undefined if it does not.
 * Matches at the beginnings of words count most: "nt" finds "New transcription" before "Accounts".
 */
export function score(query: string, text: string): number | undefined {
  const wanted = query.trim().toLowerCase();
  const lower = text.toLowerCase();
  // Where words begin.
  const starts = [...lower.matchAll(/(?<![\p{L}\p{N}])[^\s]/gu)].map((match) => match.index);
  const whole = starts.findIndex((start) => lower.startsWith(wanted, start));
  let points = (whole < 0 ? 0 : WHOLE - whole) - lower.length / WHOLE;
  let after = 0;
  for (const letter of wanted.replaceAll(/\s/g, "")) {
    const next = lower.indexOf(letter, after);
    if (next < 0) return undefined;
    // A letter that does not follow the one before rather begins a word.
    const start = starts.find((start) => start >= after && lower[start] === letter);
    const at = next === after || start === undefined ? next : start;
    points += (at === after ? IN_ROW : 0) + (starts.includes(at) ? AT_WORD : 0);
    after = at + 1;
  }
  return points;
}

/** Return the items that match, best first; all of them for an empty query. */
export function matching<Item>(query: string, items: Item[], textOf: (item: Item) => string): Item[] {
  if (query.trim() === "") return items;
  return items
    .flatMap((item) => {
      const points = score(query, textOf(item));
      return points === undefined ? [] : [{ item, points }];
    })
    .sort((one, other) => other.points - one.points)
    .map(({ item }) => item);
}
