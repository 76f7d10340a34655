/** The stored conversations: open one, delete one or all. */
import { Button } from "../../components/controls/button.tsx";
import { ask } from "../../components/controls/dialog.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { BASE } from "../../routes.ts";
import { useValue } from "../../store.ts";
import { conversations, forget, forgetAll, titleOf } from "./history.ts";

export interface ConversationsProps {
  current: string;
  /** The current conversation was deleted. */
  onLeave: () => void;
  /** Another one was chosen. */
  onOpen: () => void;
}

export function Conversations({ current, onLeave, onOpen }: ConversationsProps) {
  const list = useValue(conversations);
  if (list.length === 0) return <p class="small quiet">Your conversations are listed here.</p>;
  const remove = (id: string) => {
    forget(id);
    if (id === current) onLeave();
  };
  const removeAll = async () => {
    const sure = await ask({
      title: "Delete all conversations?",
      text: "They are stored in this browser only and cannot be restored. The jobs of the answers stay.",
      action: "Delete all",
    });
    if (!sure) return;
    forgetAll();
    onLeave();
  };
  return (
    <div class="stack">
      <ul class="chat-list">
        {list.map((conversation) => (
          <li key={conversation.id}>
            <a
              href={`${BASE}/chat?c=${conversation.id}`}
              onClick={onOpen}
              aria-current={conversation.id === current ? "page" : undefined}
            >
              <span class="chat-list-title">{titleOf(conversation)}</span>
              <span class="small quiet">
                <Ago at={conversation.updatedAt} />
              </span>
            </a>
            <Button
              size="small"
              kind="plain"
              icon="trash"
              label={`Delete the conversation: ${titleOf(conversation)}`}
              onClick={() => remove(conversation.id)}
            />
          </li>
        ))}
      </ul>
      <div class="row small quiet" data-between="true">
        Only in this browser
        <Button size="small" kind="plain" onClick={removeAll}>
          Delete all
        </Button>
      </div>
    </div>
  );
}
