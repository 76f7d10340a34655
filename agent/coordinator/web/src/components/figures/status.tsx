/**
 * A status as a coloured badge with its own icon, so that statuses are distinguishable without colour.
 *
 *   <Status state={job.status} />
 *   <Badge tone="wait" icon="pause">Paused</Badge>
 */
import type { ComponentChildren } from "preact";
import { Icon, type IconName } from "../icon.tsx";

export type Tone = "good" | "busy" | "wait" | "bad" | "still";

const STATES: Record<string, { tone: Tone; icon: IconName; word: string }> = {
  submitted: { tone: "wait", icon: "wait", word: "Waiting" },
  running: { tone: "busy", icon: "play", word: "Running" },
  completed: { tone: "good", icon: "check", word: "Completed" },
  failed: { tone: "bad", icon: "cross", word: "Failed" },
  cancelled: { tone: "still", icon: "dash", word: "Cancelled" },
};

export function Badge({ tone, icon, children }: { tone: Tone; icon: IconName; children: ComponentChildren }) {
  return (
    <span class="status" data-tone={tone}>
      <Icon name={icon} />
      {children}
    </span>
  );
}

export function Status({ state }: { state: string }) {
  const known = STATES[state] ?? { tone: "still", icon: "dash", word: state };
  return (
    <Badge tone={known.tone} icon={known.icon}>
      {known.word}
    </Badge>
  );
}
