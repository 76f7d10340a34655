/** One message of a conversation. */
import { CopyButton } from "../../components/controls/copyable.tsx";
import { Answer, Reasoning, withoutReasoning } from "../../results/answer.tsx";
import { BASE } from "../../routes.ts";
import type { Turn } from "./history.ts";

export function ChatTurn({ turn, writing }: { turn: Turn; writing: boolean }) {
  if (turn.role === "user") {
    return (
      <li class="chat-turn" data-role="user">
        <p class="chat-who">You</p>
        <p class="chat-text">{turn.content}</p>
      </li>
    );
  }
  return (
    <li class="chat-turn" data-role="assistant">
      <p class="chat-who">{turn.model ?? "Model"}</p>
      {turn.reasoning && <Reasoning text={turn.reasoning} />}
      <Answer text={turn.content} />
      {writing && turn.content === "" && (
        <p class="quiet">{turn.reasoning ? "Thinking" : "Waiting for the answer"}…</p>
      )}
      {!writing && <Foot turn={turn} />}
    </li>
  );
}

function Foot({ turn: { note, jobId, content } }: { turn: Turn }) {
  return (
    <div class="chat-foot small quiet">
      {content && <CopyButton text={withoutReasoning(content).answer} noun="answer" />}
      <span>{note ?? "This window was closed before the answer was complete."}</span>
      {jobId && <a href={`${BASE}/jobs/${jobId}`}>Job and receipt</a>}
    </div>
  );
}
