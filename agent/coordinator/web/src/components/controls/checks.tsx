/**
 * The outcome of a verification: the verdict, then every check with its reason.
 *
 *   <Checks outcome={await verified(bundle)} />                                            of a receipt
 *   <CheckList checks={checks} valid={valid} good="It is in the log." bad="It is not proven" logKey={key} />
 */
import type { Check } from "@aitbc/client";
import type { Outcome } from "../../verification.ts";
import { Icon } from "../icon.tsx";

export function Checks({ outcome: { verification, logKey } }: { outcome: Outcome }) {
  return (
    <CheckList
      checks={verification.checks}
      valid={verification.valid}
      good="This receipt is valid."
      bad="This receipt is not valid"
      logKey={logKey}
    />
  );
}

export interface CheckListProps {
  checks: readonly Check[];
  valid: boolean;
  good: string;
  bad: string;
  /** The key that the verification trusted. */
  logKey: string;
}

export function CheckList({ checks, valid, good, bad, logKey }: CheckListProps) {
  const failed = checks.filter((check) => !check.ok).length;
  return (
    <div class="verdict" data-tone={valid ? "good" : "bad"} role="status">
      <p class="verdict-line">
        <Icon name={valid ? "verify" : "warn"} />
        {valid ? good : `${bad}: ${failed === 1 ? "one check failed" : `${failed} checks failed`}.`}
      </p>
      <ul class="checks">
        {checks.map((check) => (
          <li key={check.name + check.message} data-tone={check.ok ? "good" : "bad"}>
            <Icon name={check.ok ? "check" : "cross"} />
            <span>
              <strong>{check.name}</strong> {check.message}
            </span>
          </li>
        ))}
      </ul>
      <p class="small quiet">
        Verified in this browser with the log key <code>{logKey}</code>
      </p>
    </div>
  );
}
