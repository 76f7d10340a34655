/** Why a job does not run: one line for each reason, who can change it, and how. */

import { codeOf } from "../../errors.ts";

export interface Reason {
  code: string;
  message: string;
  who: string;
  action: string;
}

const WHO: Record<string, string> = {
  client: "You",
  owner: "The machine's owner",
  operator: "The operator of the network",
  time: "Nobody needs to act",
};

export function Reasons({ reasons }: { reasons: Reason[] }) {
  return (
    <ul class="reasons">
      {reasons.map((reason) => (
        <li key={reason.code + reason.message} data-code={reason.code}>
          <p>{reason.message}</p>
          {reason.action && (
            <p class="small">
              <strong>{WHO[reason.who] ?? reason.who}:</strong> {reason.action}
            </p>
          )}
        </li>
      ))}
    </ul>
  );
}

/** Return the reasons in the error of a job that no miner can run, or undefined for other errors. */
export function reasonsIn(error: unknown): Reason[] | undefined {
  if (codeOf(error) !== "CANNOT_RUN") return undefined;
  const { details } = error as { details?: { reasons?: Reason[] } };
  return details?.reasons ?? [];
}
