/**
 * A section of a page with its own heading, divided from others by a rule.
 *
 *   <Card title="Queue" note="live" action={<Button size="small">All jobs</Button>}>...</Card>
 *   <Card title="NVIDIA RTX 4090" object>...</Card>           a card: one object among others of its kind
 */
import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";

export interface CardProps {
  title?: string;
  note?: ComponentChildren;
  action?: ComponentChildren;
  object?: boolean;
  children: ComponentChildren;
}

export function Card({ title, note, action, object = false, children }: CardProps) {
  const id = useId();
  return (
    <section class="stack card" data-object={object} aria-labelledby={title === undefined ? undefined : id}>
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
