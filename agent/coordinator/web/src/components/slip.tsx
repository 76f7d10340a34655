/**
 * A slip of paper with torn edges: a receipt, an estimate, a balance.
 *
 *   <Slip title="Receipt" note={<Copyable text={receiptId} />} stamp={valid && <Stamp>Verified</Stamp>}>
 *     <Lines items={[["20 images at 0.02 credits", <Money amount="0.40" />]]} total={["Paid", <Money amount="0.40" />]} />
 *     <Cut />
 *     ...
 *   </Slip>
 *
 * `Cut` is a dashed line where a part could be cut off.
 */
import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";
import type { Tone } from "./figures/status.tsx";

export interface SlipProps {
  title: string;
  note?: ComponentChildren;
  stamp?: ComponentChildren;
  children: ComponentChildren;
}

export function Slip({ title, note, stamp, children }: SlipProps) {
  const id = useId();
  return (
    <section class="stack receipt" aria-labelledby={id}>
      <div class="row receipt-head" data-between="true">
        <h2 id={id}>{title}</h2>
        {note}
      </div>
      {stamp}
      {children}
    </section>
  );
}

/** A rubber stamp, such as "Verified". */
export function Stamp({ tone = "good", children }: { tone?: Tone; children: ComponentChildren }) {
  return (
    <p class="stamp" data-tone={tone}>
      {children}
    </p>
  );
}

export function Cut() {
  return <hr class="cut" />;
}

export type Line = [name: ComponentChildren, value: ComponentChildren];

/** Names on the left, figures on the right, and the total below a rule. */
export function Lines({ items, total }: { items: Line[]; total?: Line | undefined }) {
  return (
    <dl class="stack receipt-lines" data-gap="2">
      {items.map(([name, value], index) => (
        <div key={index}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
      {total && (
        <div class="receipt-total">
          <dt>{total[0]}</dt>
          <dd>{total[1]}</dd>
        </div>
      )}
    </dl>
  );
}
