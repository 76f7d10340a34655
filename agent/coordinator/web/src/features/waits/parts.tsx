/** Why a job does not run: one line for each reason, who can change it, and how. */
import { CannotRun, type JobReason } from "@aitbc/client";
import { Coded } from "../../components/coded.tsx";
import { inFormWords } from "../../errors.ts";

const WHO: Record<Exclude<JobReason["who"], "client">, string> = {
  owner: "The machine's owner",
  operator: "The operator of the network",
  time: "Nobody needs to act",
};

interface ReasonsProps {
  reasons: JobReason[];
  /** A message that is shown above already. */
  title?: string;
  /** Who the client is for the reader. */
  client?: string;
}

export function Reasons({ reasons, title, client = "You" }: ReasonsProps) {
  const who = { ...WHO, client };
  return (
    <ul class="stack" data-gap="2">
      {reasons.map((reason) => (
        <li key={reason.code + reason.message} data-code={reason.code}>
          {reason.message !== title && (
            <p>
              <Coded text={inFormWords(reason.message)} />
            </p>
          )}
          {reason.action && (
            <p class="small">
              <strong>{who[reason.who]}:</strong> <Coded text={inFormWords(reason.action)} />
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
