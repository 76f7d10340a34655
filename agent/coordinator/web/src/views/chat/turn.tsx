/** One message of a conversation. */
import { Button } from "../../components/controls/button.tsx";
import { CopyButton } from "../../components/controls/copyable.tsx";
import { Answer, Reasoning, withoutReasoning } from "../../results/answer.tsx";
import { BASE } from "../../routes.ts";
import type { Turn } from "./history.ts";

export interface ChatTurnProps {
  turn: Turn;
  /** Its answer is being written. */
  writing: boolean;
  /** Write the answer again. */
  onRetry: (() => Promise<void>) | undefined;
  /** Change the question. */
  onEdit: (() => void) | undefined;
}

export function ChatTurn({ turn, writing, onRetry, onEdit }: ChatTurnProps) {
  if (turn.role === "user") {
    return (
      <li class="stack chat-turn" data-gap="1" data-role="user">
        <p class="visually-hidden">You</p>
        <p class="chat-text">{turn.content}</p>
        <div class="row chat-foot">
          {onEdit && (
            <Button size="small" kind="plain" onClick={onEdit}>
              Edit
            </Button>
          )}
          <CopyButton text={turn.content} noun="message" />
        </div>
      </li>
    );
  }
  return (
    <li class="stack chat-turn" data-gap="1" data-role="assistant" data-writing={writing}>
      <p class="chat-who">{turn.model ?? "Model"}</p>
      {turn.reasoning && <Reasoning text={turn.reasoning} />}
      <Answer text={turn.content} />
      {writing && turn.content === "" && <p class="quiet chat-wait">{waiting(turn)}</p>}
      {!writing && <Foot turn={turn} onRetry={onRetry} />}
    </li>
  );
}

function waiting({ reasoning, jobId, waits }: Turn): string {
  if (reasoning) return "Thinking";
  if (!jobId) return "Sending";
  return waits ? "Waiting for a machine" : "Reading your message";
}

function Foot({ turn, onRetry }: { turn: Turn; onRetry: (() => Promise<void>) | undefined }) {
  const { note, jobId, content, failed } = turn;
  const text = note ?? "This window was closed before the answer was complete.";
  return (
    <>
      {failed && (
        <p class="chat-error" role="alert">
          {text}
        </p>
      )}
      <div class="row chat-foot small quiet">
        {content && <CopyButton text={withoutReasoning(content).answer} noun="answer" />}
        {onRetry && (
          <Button size="small" kind="plain" icon="again" onClick={() => void onRetry()}>
            Try again
          </Button>
        )}
        {!failed && <span>{text}</span>}
        {jobId && <a href={`${BASE}/jobs/${jobId}`}>Job and receipt</a>}
      </div>
    </>
  );
}
