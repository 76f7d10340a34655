/** The style guide: all components with example content. Its pictures are in docs/assets (`scripts/screenshots --style`). */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { Card } from "../components/card.tsx";
import { Button } from "../components/controls/button.tsx";
import { Copyable } from "../components/controls/copyable.tsx";
import { CheckField, SelectField, TextField } from "../components/controls/field.tsx";
import { FormButton } from "../components/controls/form-dialog.tsx";
import { Menu } from "../components/controls/menu.tsx";
import { Segments } from "../components/controls/segments.tsx";
import { Empty } from "../components/empty.tsx";
import { Chart } from "../components/figures/chart.tsx";
import { Facts, Figures } from "../components/figures/figures.tsx";
import { Money } from "../components/figures/money.tsx";
import { Progress } from "../components/figures/progress.tsx";
import { Status } from "../components/figures/status.tsx";
import { Table } from "../components/figures/table.tsx";
import { Notice } from "../components/notice.tsx";
import { Page } from "../components/page.tsx";
import { Cut, Lines, Slip, Stamp } from "../components/slip.tsx";
import { Tabs } from "../components/tabs.tsx";
import { notify } from "../components/toast.tsx";
import "./style.css";

const COLOURS = [
  ...["paper", "surface", "sunken", "line", "line-strong", "ink-faint", "ink-soft", "ink"],
  ...["accent", "accent-soft", "good", "busy", "wait", "bad", "still"],
];
const JOBS = [
  { name: "Weekly meeting", service: "Transcription", status: "completed", cost: "0.0124" },
  { name: "Opening shot", service: "Rendering", status: "running", cost: undefined },
  { name: "Nightly training", service: "Python model", status: "submitted", cost: undefined },
  { name: "Broken classifier", service: "Python model", status: "failed", cost: "0" },
];
const DAYS = [3, 5, 4, 8, 6, 2, 0, 7, 9, 12, 10, 11];
const nothing = () => undefined;

export default function Style() {
  return (
    <Page
      title="Style"
      lead="Paper, ink and receipts: colours, type, controls and states of the dashboard."
      actions={
        <>
          <Menu
            label="More"
            items={[
              { name: "Run again", icon: "again", act: () => notify("The job runs again.") },
              { name: "Delete", icon: "trash", danger: true, act: nothing },
            ]}
          />
          <FormButton
            title="New key"
            action="Create key"
            icon="key"
            initial={{ name: "" }}
            onSend={async ({ name }) => {
              if (name === "") throw new Error("A key needs a name.");
              notify(`${name} was created.`);
            }}
          >
            {(field) => <TextField label="Name" required {...field("name")} />}
          </FormButton>
        </>
      }
    >
      <div class="style-columns">
        <div class="stack">
          <Card title="Colours">
            <ul class="swatches">
              {COLOURS.map((name) => (
                <li key={name}>
                  <span style={{ background: `var(--${name})` }} />
                  <code>{name}</code>
                </li>
              ))}
            </ul>
          </Card>
          <Card title="Type">
            <div class="stack">
              <p class="style-title">A title in IBM Plex Sans</p>
              <p>Text says what happened, what it costs, and what to do next.</p>
              <p class="quiet small">Small and quiet, for what is read second.</p>
              <p class="mono">Money and ids in IBM Plex Mono: 1,024.50 job_06h1k2</p>
            </div>
          </Card>
          <Card title="Figures">
            <Figures
              items={[
                { name: "Running", value: 3, note: "of 4 slots" },
                { name: "Balance", value: <Money amount="998.4812" /> },
                { name: "Earned today", value: <Money amount="1.2" /> },
              ]}
            />
            <Chart
              label="Jobs that ended"
              points={DAYS.map((value, index) => ({ name: `${index + 8}:00`, value }))}
            />
          </Card>
        </div>
        <div class="stack">
          <Card title="Controls">
            <Controls />
          </Card>
          <Card title="States">
            <div class="row">
              {["submitted", "running", "completed", "failed", "cancelled"].map((state) => (
                <Status key={state} state={state} />
              ))}
            </div>
            <Progress label="Progress" value={62} />
            <Notice tone="wait" title="No miner offers this service now">
              The job waits until one does. You pay nothing meanwhile.
            </Notice>
            <Notice tone="bad" title="This card is too small">
              The prompt needs 24 GiB. Choose a smaller size.
            </Notice>
          </Card>
        </div>
        <Receipt />
      </div>
      <div class="style-columns" data-two="true">
        <Card title="A list">
          <Table
            caption="Jobs"
            rows={JOBS}
            rowKey={({ name }) => name}
            href={() => "#"}
            columns={[
              { title: "Job", cell: ({ name }) => name },
              { title: "Service", cell: ({ service }) => service },
              { title: "Status", cell: ({ status }) => <Status state={status} />, shrink: true },
              { title: "Cost", amount: ({ cost }) => cost },
              {
                title: "Actions",
                action: ({ name }) => (
                  <Menu brief label={`Actions for ${name}`} items={[{ name: "Delete", act: nothing }]} />
                ),
              },
            ]}
          />
        </Card>
        <Card title="Nothing yet">
          <Empty icon="jobs" title="No jobs yet" action={<Button icon="add">New job</Button>}>
            Jobs that you submit appear here.
          </Empty>
        </Card>
      </div>
    </Page>
  );
}

function Controls() {
  const [text, setText] = useState("A lighthouse in a storm");
  const [state, setState] = useState("");
  const [chosen, setChosen] = useState(true);
  const size = "Enter a width and a height, such as 1024x1024.";
  return (
    <div class="stack">
      <div class="row">
        <Button kind="main">Run</Button>
        <Button>Save</Button>
        <Button kind="danger">Delete</Button>
        <Button kind="plain" icon="copy" label="Copy" />
        <Button disabled>Wait</Button>
      </div>
      <TextField label="Prompt" required value={text} onInput={setText} />
      <TextField label="Size" required value="10x" onInput={nothing} error={size} />
      <SelectField label="Model" value="" onInput={nothing} options={[{ value: "", label: "sdxl" }]} />
      <CheckField label="Only miners near me" checked={chosen} onInput={setChosen} />
      <Segments label="Show" value={state} onInput={setState} options={options("All", "Running", "Failed")} />
      <Tabs label="Parts" tabs={["Result", "Log"].map((name) => tab(name, <p>What a tab shows.</p>))} />
    </div>
  );
}

function options(...labels: string[]) {
  return labels.map((label, index) => ({ value: index ? label : "", label }));
}

function tab(name: string, content: ComponentChildren) {
  return { id: name.toLowerCase(), name, content: () => content };
}

function Receipt() {
  return (
    <Slip title="Receipt" note={<Copyable text="receipt_06h34q" />} stamp={<Stamp>Verified</Stamp>}>
      <Lines
        items={[
          ["4 images at 0.02 credits", <Money key="images" amount="0.08" />],
          ["Operator's fee", <Money key="fee" amount="0" />],
        ]}
        total={["Paid", <Money key="paid" amount="0.08" />]}
      />
      <Cut />
      <Facts
        items={[
          ["Signed by", <Copyable key="miner" text="miner_kxhn" />],
          ["Ran on", "NVIDIA GeForce RTX 4090"],
          ["Model", "sdxl"],
        ]}
      />
      <Button kind="main" icon="verify">
        Verify in this browser
      </Button>
    </Slip>
  );
}
