/** Whether this browser still shows the first steps of a client on the home page. */

const SKIPPED = "aitbc.first-steps";
/** Who has run this many jobs needs no checklist, in no browser. */
const EXPERIENCED = 10;

/** Return whether the first steps are still to be shown. */
export function isFirst(completed: number): boolean {
  return completed < EXPERIENCED && localStorage.getItem(SKIPPED) === null;
}

/** Never show the first steps again in this browser: they are done, or not wanted. */
export function endFirst(): void {
  localStorage.setItem(SKIPPED, "done");
}
