/**
 * The outcome of a verification.
 *
 *   <Conclusions outcome={await verified(bundle)} />                                       of a receipt: who, what, price, log
 *   <CheckList checks={checks} valid={valid} good="It is in the log." bad="It is not proven" logKey={key} />
 */
import { type Check, type Conclusion, checkWords, conclusions, otherNetwork } from "@aitbc/client";
import type { ComponentChildren } from "preact";
import { serviceName, shortId } from "../../format/names.ts";
import { quantity } from "../../format/sale_units.ts";
import { plural } from "../../format/size.ts";
import { useSaleUnits } from "../../sale_units.ts";
import type { Outcome } from "../../verification.ts";
import { Money } from "../figures/money.tsx";
import { Clock } from "../figures/time.tsx";
import { Icon, type IconName } from "../icon.tsx";
import { Notice } from "../notice.tsx";
import "../../styles/receipts.css";

const QUESTIONS = { who: "Who", what: "What", price: "Price", log: "Log" } as const;
const MARKS: Record<Conclusion["verdict"], { icon: IconName; tone: string; word: string }> = {
  proven: { icon: "check", tone: "good", word: "proven" },
  failed: { icon: "cross", tone: "bad", word: "wrong" },
  unchecked: { icon: "dash", tone: "still", word: "not checked" },
};

/** What a receipt proves in four sentences, each with its checks. `remedy` is shown for the receipt of another network. */
export function Conclusions({ outcome, remedy }: { outcome: Outcome; remedy?: ComponentChildren }) {
  const { verification, logKey } = outcome;
  const network = otherNetwork(verification);
  const concluded = conclusions(verification);
  const failed = concluded.filter(({ verdict }) => verdict === "failed").length;
  return (
    <section class="stack conclusions" role="status">
      {network ? (
        <Notice tone="wait" title="This receipt is from another network">
          <p>
            It was made for {network}. Nothing is wrong with it so far: only the log key of that network can
            show whether it is genuine.
          </p>
          {remedy}
        </Notice>
      ) : (
        <p class="verdict-line" data-tone={verification.valid ? "good" : "bad"}>
          <Icon name={verification.valid ? "verify" : "warn"} />
          {verification.valid
            ? "This receipt is genuine."
            : failed > 0
              ? "Do not trust this receipt."
              : "This is no valid receipt."}
        </p>
      )}
      <dl class="conclusion-list">
        {concluded.map((conclusion) => (
          <Answer key={conclusion.question} conclusion={conclusion} outcome={outcome} />
        ))}
      </dl>
      <p class="small quiet">
        Checked in this browser with the log key <code>{logKey}</code>
      </p>
    </section>
  );
}

function Answer({ conclusion, outcome }: { conclusion: Conclusion; outcome: Outcome }) {
  const { question, verdict, sentence, checks } = conclusion;
  const { icon, tone, word } = MARKS[verdict];
  const failed = checks.filter(({ ok }) => !ok);
  return (
    <div data-tone={tone}>
      <dt>
        <Icon name={icon} />
        {QUESTIONS[question]}
        <span class="visually-hidden"> ({word})</span>
      </dt>
      <dd>
        {verdict === "proven" ? <Proven question={question} outcome={outcome} /> : <p>{sentence}</p>}
        {checks.length > 0 && (
          // What is wrong is shown at once.
          <details class="fold" open={verdict === "failed"}>
            <summary>
              {failed.length > 0 && verdict === "failed" ? "What is wrong" : plural(checks.length, "check")}
            </summary>
            <Checks checks={verdict === "failed" ? [...failed, ...checks.filter(({ ok }) => ok)] : checks} />
          </details>
        )}
      </dd>
    </div>
  );
}

/** What is proven, in the words of this page: ids are on the receipt above, and times and amounts are as everywhere. */
function Proven({ question, outcome }: { question: Conclusion["question"]; outcome: Outcome }) {
  const soldBy = useSaleUnits();
  const { statement, logIndex } = outcome.verification;
  if (!statement) return null;
  const { service, minerId, subject, finishedAt } = statement;
  const outputs = subject.length - 1;
  switch (question) {
    case "who":
      return (
        <p>
          The miner <span title={minerId}>{shortId(minerId)}</span> signed it, and this network's coordinator
          confirmed it.
        </p>
      );
    case "what":
      return (
        <p>
          {serviceName(service)}, done <Clock at={finishedAt} />. The result
          {outputs > 0 ? ` and ${plural(outputs, "output file")} are` : " is"} unchanged since the miner
          signed.
        </p>
      );
    case "price":
      return (
        <p>
          <Money amount={statement.price} /> for {quantity(statement.units, soldBy(service, statement.unit))}.
        </p>
      );
    case "log":
      return (
        <p>The network's public log contains it, as entry {logIndex}. Nobody can remove it unnoticed.</p>
      );
  }
}

interface ChecksProps {
  checks: readonly Check[];
  words?: (check: Check) => ComponentChildren;
}

function Checks({ checks, words = checkWords }: ChecksProps) {
  return (
    <ul class="stack checks" data-gap="2">
      {checks.map((check) => (
        <li key={check.name + check.message} data-tone={check.ok ? "good" : "bad"}>
          <Icon name={check.ok ? "check" : "cross"} />
          <span>{words(check)}</span>
        </li>
      ))}
    </ul>
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
    <div class="stack verdict" data-tone={valid ? "good" : "bad"} role="status">
      <p class="verdict-line">
        <Icon name={valid ? "verify" : "warn"} />
        {valid ? good : `${bad}: ${failed === 1 ? "one check failed" : `${failed} checks failed`}.`}
      </p>
      <Checks
        checks={checks}
        words={({ name, message }) => (
          <>
            <strong>{name}</strong> {message}
          </>
        )}
      />
      <p class="small quiet">
        Verified in this browser with the log key <code>{logKey}</code>
      </p>
    </div>
  );
}
