/**
 * Previous and next page of a list; empty if the list fits on one page.
 *
 *   <Pager size={25} offset={offset} total={total} onTurn={setOffset} />
 */
import { count } from "../../format/size.ts";
import { Button } from "./button.tsx";

export interface PagerProps {
  /** Entries on a page. */
  size: number;
  offset: number;
  total: number;
  onTurn: (offset: number) => void;
}

export function Pager({ size, offset, total, onTurn }: PagerProps) {
  if (total <= size) return null;
  return (
    <nav class="row" data-between="true" aria-label="Pages of the list">
      <span class="quiet">
        {count(offset + 1)} to {count(Math.min(offset + size, total))} of {count(total)}
      </span>
      <span class="row">
        <Button size="small" disabled={offset === 0} onClick={() => onTurn(Math.max(0, offset - size))}>
          Newer
        </Button>
        <Button size="small" disabled={offset + size >= total} onClick={() => onTurn(offset + size)}>
          Older
        </Button>
      </span>
    </nav>
  );
}
