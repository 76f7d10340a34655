/**
 * A section of a page with its own heading.
 *
 *   <Card title="Queue" note="live" action={<Button size="small">All jobs</Button>}>...</Card>
 */
import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";

export interface CardProps {
  title?: string;
  note?: ComponentChildren;
  action?: ComponentChildren;
  children: ComponentChildren;
}

export function Card({ title, note, action, children }: CardProps) {
  const id = useId();
  return (
    <section class="card" aria-labelledby={title === undefined ? undefined : id}>
      {title !== undefined && (
        <div class="card-head">
          <h2 id={id}>{title}</h2>
          {note !== undefined && <span class="small">{note}</span>}
          {action}
        </div>
      )}
      {children}
    </section>
  );
}
