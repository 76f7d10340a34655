/**
 * A status as a coloured badge with its own icon, so that statuses are distinguishable without colour.
 *
 *   <Status state={job.status} />
 *   <Badge tone="wait" icon="pause" word="Paused" />
 */
import { Icon, type IconName } from "../icon.tsx";

export type Tone = "good" | "busy" | "wait" | "bad" | "still";

export interface BadgeProps {
  tone: Tone;
  icon: IconName;
  word: string;
}

const STATES: Record<string, BadgeProps> = {
  submitted: { tone: "wait", icon: "wait", word: "Waiting" },
  running: { tone: "busy", icon: "play", word: "Running" },
  completed: { tone: "good", icon: "check", word: "Completed" },
  failed: { tone: "bad", icon: "cross", word: "Failed" },
  cancelled: { tone: "still", icon: "dash", word: "Cancelled" },
};

export function Badge({ tone, icon, word }: BadgeProps) {
  return (
    <span class="status" data-tone={tone}>
      <Icon name={icon} />
      {word}
    </span>
  );
}

export function Status({ state }: { state: string }) {
  return <Badge {...(STATES[state] ?? { tone: "still", icon: "dash", word: state })} />;
}
