/** The stored conversations: open one, delete one or all. */
import { Card } from "../../components/card.tsx";
import { Button } from "../../components/controls/button.tsx";
import { ask } from "../../components/controls/dialog.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { BASE } from "../../routes.ts";
import { conversations, forget, forgetAll, titleOf } from "./history.ts";

export function Conversations({ current, onLeave }: { current: string; onLeave: () => void }) {
  const list = conversations.value;
  if (list.length === 0) return null;
  const remove = (id: string) => {
    forget(id);
    if (id === current) onLeave();
  };
  const removeAll = async () => {
    const sure = await ask({
      title: "Delete all conversations?",
      text: "They are stored in this browser only and cannot be restored. The jobs of the answers stay.",
      action: "Delete all",
      danger: true,
    });
    if (!sure) return;
    forgetAll();
    onLeave();
  };
  return (
    <Card title="Conversations" note="only in this browser">
      <ul class="chat-list">
        {list.map((conversation) => (
          <li key={conversation.id}>
            <a
              href={`${BASE}/chat?c=${conversation.id}`}
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
      <div class="row">
        <Button size="small" kind="plain" onClick={removeAll}>
          Delete all
        </Button>
      </div>
    </Card>
  );
}
