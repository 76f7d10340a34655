/** Why a job does not run: one line for each reason, who can change it, and how. */
import { CannotRun, type JobReason } from "@aitbc/client";

const WHO: Record<JobReason["who"], string> = {
  client: "You",
  owner: "The machine's owner",
  operator: "The operator of the network",
  time: "Nobody needs to act",
};

/** `title` is a message that is shown above already. */
export function Reasons({ reasons, title }: { reasons: JobReason[]; title?: string }) {
  return (
    <ul class="reasons">
      {reasons.map((reason) => (
        <li key={reason.code + reason.message} data-code={reason.code}>
          {reason.message !== title && <p>{reason.message}</p>}
          {reason.action && (
            <p class="small">
              <strong>{WHO[reason.who]}:</strong> {reason.action}
            </p>
          )}
        </li>
      ))}
    </ul>
  );
}

/** Return the reasons in the error of a job that no miner can run, or undefined for other errors. */
export function reasonsIn(error: unknown): JobReason[] | undefined {
  return error instanceof CannotRun ? error.reasons : undefined;
}
