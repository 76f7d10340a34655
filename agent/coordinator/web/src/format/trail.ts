/** Formats entries of the trail of what administrators have done. */
import { shortId } from "./names.ts";

/** The pages of objects, by the beginning of their ids. */
const PAGES: Record<string, string> = { miner: "miners", job: "jobs", batch: "payouts", audit: "audits" };

/** Return the id in an entry's address, and the page of the network that shows such objects if there is one. */
export function subjectOf(path: string): { id: string; page: string | undefined } | undefined {
  const id = path.split("/").find((part) => part.includes("_"));
  return id === undefined ? undefined : { id, page: PAGES[id.slice(0, id.indexOf("_"))] };
}

/** Format what was entered: `{"amount": "10", "expiresIn": 60}` as "amount 10, expires in 60"; ids name themselves. */
export function entered(details: Record<string, unknown>): string {
  return Object.entries(details)
    .map(([name, value]) => {
      if (value === true) return words(name);
      if (value === false) return `not ${words(name)}`;
      return ID.test(String(value)) ? shortId(String(value)) : `${words(name)} ${value}`;
    })
    .join(", ");
}

const ID = /^[a-z]+_[0-9a-z]{20,}$/;

function words(name: string): string {
  return name
    .replaceAll("_", " ")
    .replaceAll(/[A-Z]/g, (letter) => ` ${letter}`)
    .toLowerCase();
}
