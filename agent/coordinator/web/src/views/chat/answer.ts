/** Asks a language model, and reports its answer as it is written. */
import { AITBCError, type Message } from "@aitbc/client";
import { explain } from "../../errors.ts";
import { plural } from "../../format/size.ts";
import { withoutReasoning } from "../../results/answer.tsx";
import { api } from "../../session.ts";
import { INITIAL, reduce } from "../job/progress.ts";
import type { Turn } from "./history.ts";

export interface Settings {
  model: string;
  system: string;
  maxTokens: number | undefined;
  temperature: number | undefined;
}

/** Ask the model to continue the conversation. Aborting also cancels the job. */
export async function answer(
  { model, system, maxTokens, temperature }: Settings,
  before: Turn[],
  signal: AbortSignal,
  show: (answer: Partial<Turn>) => void,
): Promise<void> {
  const messages: Message[] = before.map(({ role, content }) => ({
    role,
    content: role === "assistant" ? withoutReasoning(content).answer : content,
  }));
  if (system.trim()) messages.unshift({ role: "system", content: system.trim() });
  const { services, jobs } = api("client");
  let jobId: string | undefined;
  try {
    ({ jobId } = await services.infer({ messages, model, maxTokens, temperature, signal }));
    show({ jobId });
    let progress = INITIAL;
    for await (const event of jobs.events(jobId, { signal })) {
      progress = reduce(progress, event);
      const { text, reasoning, job } = progress;
      show({ content: text, reasoning, waits: job?.status === "submitted" });
    }
    show(ended((await jobs.getResults(jobId, { signal })).results));
  } catch (error) {
    if (signal.aborted && jobId) {
      await jobs.cancel(jobId).catch((late) => {
        // The job may have ended already.
        if (!(late instanceof AITBCError)) throw late;
      });
    }
    show(signal.aborted ? { note: "Stopped." } : { note: explain(error), failed: true });
  }
}

function ended(results: unknown): Partial<Turn> {
  const { text, reasoning, usage, finish_reason } = results as {
    text: string;
    reasoning?: string | null;
    usage: { completion_tokens: number };
    finish_reason: string;
  };
  const cut = finish_reason === "length" ? ", cut off at the longest answer that the settings allow" : "";
  return {
    content: text,
    ...(reasoning ? { reasoning } : {}),
    note: `${plural(usage.completion_tokens, "token")}${cut}`,
  };
}
