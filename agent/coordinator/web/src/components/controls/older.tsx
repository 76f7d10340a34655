/**
 * A list whose pages continue after the last entry: the newest page, and a button for older ones.
 *
 *   const audits = useOlder(newest, (before) => api("admin").audits.list({ before }), (page) => page.audits);
 *   <Older list={audits} />
 */
import { useEffect, useState } from "preact/hooks";
import { Button } from "./button.tsx";

interface PageOf {
  next?: string | undefined;
}

export interface OlderList<Row> {
  rows: Row[];
  more: (() => Promise<void>) | undefined;
}

/** Return the rows of the newest page and of the older ones that were loaded. */
export function useOlder<Page extends PageOf, Row>(
  newest: Page,
  read: (before: string) => Promise<Page>,
  rowsOf: (page: Page) => Row[],
): OlderList<Row> {
  const [older, setOlder] = useState<{ rows: Row[]; next: string | undefined }>();
  // A new entry shifts the newest page, so that the older ones no longer adjoin it.
  useEffect(() => setOlder(undefined), [newest.next]);
  const next = older ? older.next : newest.next;
  const more = async () => {
    const page = await read(next ?? "");
    setOlder({ rows: [...(older?.rows ?? []), ...rowsOf(page)], next: page.next });
  };
  return { rows: [...rowsOf(newest), ...(older?.rows ?? [])], more: next ? more : undefined };
}

export function Older({ list: { more } }: { list: OlderList<unknown> }) {
  if (!more) return null;
  return (
    <div class="row">
      <Button onClick={more}>Show older</Button>
    </div>
  );
}
