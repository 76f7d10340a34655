/** The first steps of a client, until they are done: a machine is ready, a job ran, its receipt is verified. */
import type { Job } from "@aitbc/client";
import type { ComponentChildren } from "preact";
import { Button } from "../../components/controls/button.tsx";
import { Progress } from "../../components/figures/progress.tsx";
import { Icon } from "../../components/icon.tsx";
import { plural } from "../../format/size.ts";
import { BASE } from "../../routes.ts";
import "../../styles/home.css";
import { Examples } from "./client.tsx";
import type { Supplied } from "./examples.ts";

export interface FirstStepsProps {
  supplied: Supplied;
  /** The newest job, if there is one. */
  newest: Job | undefined;
  /** The newest completed job. */
  completed: Job | undefined;
  onSkip: () => void;
}

export function FirstSteps({ supplied, newest, completed, onSkip }: FirstStepsProps) {
  const { services, machine } = supplied;
  const able = services.filter(({ miners }) => miners > 0).length;
  const ready = able > 0;
  return (
    <section class="stack" aria-label="First steps">
      <ol class="steps">
        <Step
          done={ready}
          now={!ready}
          title={ready ? "A machine is ready" : "Get a machine ready"}
          note={
            ready
              ? `${machine?.online ? machine.name : "This network"} runs ${able} of ${plural(services.length, "service")}.`
              : undefined
          }
        >
          {!ready && <Examples supplied={supplied} />}
        </Step>
        <Step
          done={completed !== undefined}
          now={ready && completed === undefined}
          title={completed ? "Your first job is done" : "Run a first job"}
          note={
            completed ? (
              <a href={`${BASE}/jobs/${completed.jobId}`}>See its result</a>
            ) : (
              "Each example is one click: a small real job, whose file comes with this page."
            )
          }
        >
          {ready && !completed && (
            <>
              {newest && <Newest job={newest} />}
              <Examples supplied={supplied} />
            </>
          )}
        </Step>
        <Step
          done={false}
          now={completed !== undefined}
          title="Verify its receipt"
          note="The receipt proves who ran your job, what came out, and what it cost. Your browser checks it; you need to trust nobody."
        >
          {completed && (
            <div>
              <Button kind="main" icon="verify" href={`${BASE}/verify?job=${completed.jobId}`}>
                Verify the receipt
              </Button>
            </div>
          )}
        </Step>
      </ol>
      <div>
        <Button kind="plain" size="small" onClick={onSkip}>
          Skip these steps
        </Button>
      </div>
    </section>
  );
}

interface StepProps {
  done: boolean;
  /** This is the step to do now. */
  now: boolean;
  title: string;
  note: ComponentChildren;
  children: ComponentChildren;
}

function Step({ done, now, title, note, children }: StepProps) {
  return (
    <li class="step" data-done={done} aria-current={now ? "step" : undefined}>
      <span class="step-mark">{done && <Icon name="check" />}</span>
      <div class="stack step-body">
        <h2>
          {title}
          {done && <span class="visually-hidden"> (done)</span>}
        </h2>
        {note && <p class="quiet">{note}</p>}
        {children}
      </div>
    </li>
  );
}

function Newest({ job }: { job: Job }) {
  const link = <a href={`${BASE}/jobs/${job.jobId}`}>{job.name}</a>;
  if (job.status === "failed") {
    return <p>{link} failed; its page says why.</p>;
  }
  if (job.status === "running") {
    return (
      <div class="stack">
        <p>{link} is running.</p>
        <Progress label={`Progress of ${job.name}`} value={job.progress} />
      </div>
    );
  }
  return job.status === "submitted" ? <p>{link} waits for a machine; its page says for what.</p> : null;
}
