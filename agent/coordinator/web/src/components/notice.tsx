/**
 * A message within a page.
 *
 *   <Notice tone="wait" title="No miner is online">Jobs wait until one is.</Notice>
 *   <Failure error={loading.error} retry={loading.reload} />     what went wrong and what to do
 */
import type { ComponentChildren } from "preact";
import { explain } from "../errors.ts";
import { Coded } from "./coded.tsx";
import { Button } from "./controls/button.tsx";
import type { Tone } from "./figures/status.tsx";
import { Icon, type IconName } from "./icon.tsx";

const ICONS: Record<Tone, IconName> = {
  good: "check",
  busy: "info",
  wait: "wait",
  bad: "warn",
  still: "info",
};

export interface NoticeProps {
  tone: Tone;
  title?: string;
  children?: ComponentChildren;
  action?: ComponentChildren;
}

export function Notice({ tone, title, children, action }: NoticeProps) {
  return (
    <div class="notice" data-tone={tone} role={tone === "bad" ? "alert" : undefined}>
      <Icon name={ICONS[tone]} />
      <div class="stack" data-gap="1">
        {title && (
          <p class="notice-title">
            <Coded text={title} />
          </p>
        )}
        {children}
      </div>
      {action}
    </div>
  );
}

export function Failure({ error, retry }: { error: unknown; retry?: () => void }) {
  const action = retry && (
    <Button size="small" onClick={retry}>
      Try again
    </Button>
  );
  return (
    <Notice tone="bad" action={action}>
      <p>
        <Coded text={explain(error)} />
      </p>
    </Notice>
  );
}
