/**
 * `Figures` shows a few numbers in a row, `Facts` a list of names and values.
 *
 *   <Figures items={[{ name: "Running", value: 3, note: "of 4 slots", href: "/dashboard/jobs?status=running" }]} />
 *   <Facts items={[["Miner", <Copyable text={id} />], ["Started", undefined]]} />      values that are undefined, null, false or empty are left out
 */
import type { ComponentChildren } from "preact";

export interface Figure {
  name: string;
  value: ComponentChildren;
  note?: ComponentChildren;
  href?: string | undefined;
}

export function Figures({ items }: { items: Figure[] }) {
  return (
    <dl class="figures">
      {items.map((item) => (
        <div class="figure" key={item.name}>
          <dt>{item.name}</dt>
          <dd>{item.href ? <a href={item.href}>{item.value}</a> : item.value}</dd>
          {item.note !== undefined && <dd class="figure-note">{item.note}</dd>}
        </div>
      ))}
    </dl>
  );
}

export function Facts({ items }: { items: [string, ComponentChildren][] }) {
  return (
    <dl class="facts">
      {items
        .filter(([, value]) => value !== undefined && value !== null && value !== false && value !== "")
        .flatMap(([name, value]) => [<dt key={`${name}-name`}>{name}</dt>, <dd key={name}>{value}</dd>])}
    </dl>
  );
}
