/**
 * The outcome of a verification: the verdict, then every check with its reason.
 *
 *   <Checks outcome={await verified(bundle)} />
 */
import type { Outcome } from "../../verification.ts";
import { Icon } from "../icon.tsx";

export function Checks({ outcome: { verification, logKey } }: { outcome: Outcome }) {
  const failed = verification.checks.filter((check) => !check.ok).length;
  return (
    <div class="verdict" data-tone={verification.valid ? "good" : "bad"} role="status">
      <p class="verdict-line">
        <Icon name={verification.valid ? "verify" : "warn"} />
        {verification.valid
          ? "This receipt is valid."
          : `This receipt is not valid: ${failed === 1 ? "one check failed" : `${failed} checks failed`}.`}
      </p>
      <ul class="checks">
        {verification.checks.map((check) => (
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
