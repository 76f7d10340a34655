/**
 * A list whose pages continue after the last entry: the newest page, and a button for older ones.
 *
 *   <Older newest={page} read={(before) => api("admin").audits.list({ before })} rowsOf={({ audits }) => audits}>
 *     {(audits) => <Table rows={audits} ... />}
 *   </Older>
 */

import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";

import { Button } from "./button.tsx";

export interface OlderProps<Page, Row> {
  newest: Page;
  read: (before: string) => Promise<Page>;
  rowsOf: (page: Page) => Row[];
  /** Shows the rows of the newest page and of the older ones that were loaded. */
  children: (rows: Row[]) => ComponentChildren;
}

export function Older<Page extends { next?: string | undefined }, Row>({
  newest,
  read,
  rowsOf,
  children,
}: OlderProps<Page, Row>) {
  const [older, setOlder] = useState<{ rows: Row[]; next: string | undefined }>();
  // A new entry shifts the newest page, so that the older ones no longer adjoin it.
  useEffect(() => setOlder(undefined), [newest.next]);
  const { rows, next } = older ?? { rows: [], next: newest.next };
  const more = async () => {
    const page = await read(next ?? "");
    setOlder({ rows: [...rows, ...rowsOf(page)], next: page.next });
  };

  return (
    <>
      {children([...rowsOf(newest), ...rows])}
      {next && (
        <div class="row">
          <Button onClick={more}>Show older</Button>
        </div>
      )}
    </>
  );
}
