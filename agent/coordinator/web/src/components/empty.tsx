/**
 * Placeholder for missing content: why there is none, and what to do.
 *
 *   <Empty icon="jobs" title="No jobs yet" action={<Button href="/dashboard/new" kind="main">New job</Button>}>
 *     Jobs that you submit appear here.
 *   </Empty>
 */
import type { ComponentChildren } from "preact";
import { Icon, type IconName } from "./icon.tsx";

export interface EmptyProps {
  icon: IconName;
  title: string;
  children?: ComponentChildren;
  action?: ComponentChildren;
}

export function Empty({ icon, title, children, action }: EmptyProps) {
  return (
    <div class="empty">
      <Icon name={icon} />
      <h2>{title}</h2>
      {children && <p>{children}</p>}
      {action}
    </div>
  );
}
