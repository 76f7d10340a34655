/** The payments of a batch, a page at a time. */
import type { Payout } from "@aitbc/client";
import { useState } from "preact/hooks";
import { Copyable } from "../../components/controls/copyable.tsx";
import { Menu } from "../../components/controls/menu.tsx";
import { Pager } from "../../components/controls/pager.tsx";
import { Table } from "../../components/figures/table.tsx";
import { allDigits } from "../../format/money.ts";
import { BASE } from "../../routes.ts";
import { PayoutStatus } from "./parts.tsx";

const PAGE = 50;

export interface PaymentTableProps {
  payouts: Payout[];
  /** The payments are only computed. */
  draft?: boolean;
  /** Report that a payment did not arrive; for adapters whose outcomes people report. */
  onFailed?: ((payout: Payout) => void) | undefined;
}

export function PaymentTable({ payouts, draft = false, onFailed }: PaymentTableProps) {
  const [offset, setOffset] = useState(0);
  return (
    <>
      <Table
        caption="Payments"
        rows={payouts.slice(offset, offset + PAGE)}
        rowKey={(payout) => payout.payoutId}
        columns={[
          {
            title: "Miner",
            cell: ({ minerName, minerId }) => (
              <a href={`${BASE}/network/miners/${minerId}`}>{minerName ?? minerId}</a>
            ),
          },
          { title: "Address", cell: ({ address }) => <Copyable text={address} noun="address" /> },
          ...(draft
            ? []
            : [
                {
                  title: "Status",
                  cell: ({ status, reason, waitingFor }: Payout) => (
                    <>
                      <PayoutStatus state={status} />
                      {(reason ?? waitingFor) && (
                        <p class="small quiet">{reason ?? `Waits for ${waitingFor}`}</p>
                      )}
                    </>
                  ),
                },
              ]),
          { title: "Amount", amount: ({ amount }) => amount },
          {
            title: "Sent",
            cell: ({ sentAmount, currency }) => `${allDigits(sentAmount)} ${currency}`,
            align: "end",
            shrink: true,
          },
          ...(onFailed
            ? [
                {
                  title: "Actions",
                  action: (payout: Payout) =>
                    payout.status === "sent" && (
                      <Menu
                        label={`Actions for the payment to ${payout.minerName ?? payout.minerId}`}
                        brief
                        items={[{ name: "Mark as failed", icon: "cross", act: () => onFailed(payout) }]}
                      />
                    ),
                },
              ]
            : []),
        ]}
      />
      <Pager size={PAGE} offset={offset} total={payouts.length} onTurn={setOffset} />
    </>
  );
}
